"""Small causal networks, one for each kind of layer that mixes frames."""

import torch
from torch import nn

from lean3d.ops import CausalConv3d, ChannelSeparatedConv3d
from lean3d.ops.causal_pools import CausalAvgPool3d, CausalMaxPool3d, Past, RunningMean
from lean3d.ops.heads import MeanHead, RecurrentHead, WindowHead


def conv(channels_in, channels_out, kernel=3, **more):
    return CausalConv3d(channels_in, channels_out, kernel, padding="same", **more)


class Residual(nn.Module):
    """Residual and dense connections around causal layers, one of them called twice."""

    def __init__(self):
        super().__init__()
        self.stem, self.inner, self.last = conv(3, 4), conv(4, 4, groups=4), conv(8, 4, 2)
        self.norm = nn.BatchNorm3d(4)

    def forward(self, x):
        x = self.norm(self.stem(x)).relu_()
        y = x + self.inner(torch.relu(self.inner(x)))
        return self.last(torch.cat([x, y], dim=1))


class Squeezed(nn.Module):
    """Squeeze-and-excitation by the mean of all frames so far."""

    def __init__(self):
        super().__init__()
        self.stem, self.mean, self.gate = conv(3, 4), RunningMean(), nn.Conv3d(4, 4, 1)

    def forward(self, x):
        x = self.stem(x)
        return x * self.gate(self.mean(x)).sigmoid()


class Classifier(nn.Module):
    """A trunk whose features go to a head."""

    def __init__(self, head):
        super().__init__()
        self.trunk = nn.Sequential(
            conv(3, 4), nn.ReLU(), CausalMaxPool3d((2, 2, 2), (1, 2, 2), past=1)
        )
        self.head = head

    def forward(self, x):
        return self.head(self.trunk(x).mean((3, 4)))


class LastFrame(nn.Module):
    """Answers for its last frame by itself, without a head of the library."""

    def __init__(self):
        super().__init__()
        self.stem = conv(3, 4)

    def forward(self, x):
        return {"scores": self.stem(x)[:, :, -1].mean((2, 3))}


NETS = {
    "residual": Residual,
    "squeezed": Squeezed,
    "zeros": lambda: nn.Sequential(conv(3, 4, first="zeros"), nn.BatchNorm3d(4), conv(4, 3)),
    "dilated": lambda: nn.Sequential(
        conv(3, 4, dilation=(3, 1, 1)), nn.ReLU(), conv(4, 4, (4, 1, 1))
    ),
    "pooled": lambda: nn.Sequential(conv(3, 4), CausalAvgPool3d((3, 2, 2), (1, 2, 2), past=2)),
    "any_operator": lambda: nn.Sequential(
        Past(2), ChannelSeparatedConv3d(3, 6, 3, padding=(0, 1, 1)), nn.LayerNorm(16)
    ),
    "window": lambda: Classifier(WindowHead(4, 5, window=6)),
    "lstm": lambda: Classifier(RecurrentHead(4, 5, "lstm", layers=2, hidden=8)),
    "gru": lambda: Classifier(RecurrentHead(4, 5, "gru", layers=1, hidden=8)),
    "mean": lambda: Classifier(MeanHead(4, 5)),
    "last_frame": LastFrame,
}


def build(name):
    torch.manual_seed(0)
    net = NETS[name]().eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):  # as if it were trained
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net
