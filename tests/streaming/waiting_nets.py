"""Small conventional networks, one for each way of looking ahead."""

import torch
import torch.nn.functional as F
from torch import nn


class Residual(nn.Module):
    """A strided block whose shortcut is early, written with slices and functions."""

    def __init__(self):
        super().__init__()
        self.stem, self.inner, self.last = (nn.Conv3d(c, 4, 3, padding=1) for c in (3, 4, 8))
        self.norm = nn.BatchNorm3d(4)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)))
        y = self.inner(x)
        y += x
        y = torch.cat([y, x], dim=1)[:, :, ::2]
        return self.last(F.relu(y))


class Separate(nn.Module):
    """(2+1)D, dilated, grouped, kernels of even length, pools of every kind."""

    def __init__(self):
        super().__init__()
        self.space = nn.Conv3d(3, 4, (1, 3, 3), padding=(0, 1, 1), bias=False)
        self.time = nn.Conv3d(4, 4, (3, 1, 1), dilation=(2, 1, 1), padding="same", groups=4)
        self.even = nn.Conv3d(4, 4, (4, 1, 1), stride=(2, 1, 1), padding=(1, 0, 0))
        self.max = nn.MaxPool3d(3, 1, 1, dilation=(2, 1, 1))
        self.mean = nn.AvgPool3d((3, 2, 2), 1, (1, 0, 0))

    def forward(self, x):
        x = self.time(self.space(x)).sigmoid() * 2 - 1
        return self.even(self.mean(self.max(x)))


class Pooled(nn.Module):
    """Scores of a whole video by the mean over time."""

    def __init__(self):
        super().__init__()
        self.trunk, self.fc = Residual(), nn.Linear(4, 5)

    def forward(self, x):
        return self.fc(F.adaptive_avg_pool3d(self.trunk(x), 1).flatten(1))


class Mean(nn.Module):
    """Scores at every frame, then their mean, as S3D does it."""

    def __init__(self):
        super().__init__()
        self.trunk, self.classes = Separate(), nn.Conv3d(4, 5, 1)
        self.drop = nn.Dropout()

    def forward(self, x):
        return self.classes(self.drop(self.trunk(x))).mean((2, 3, 4))


class Masked(nn.Module):
    """Comparisons, masks and rounded maps."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv3d(3, 4, 3, padding=1), nn.Conv3d(4, 4, 3, padding=1)

    def forward(self, x):
        y = self.first(x)
        here = ((y > 0) & y.isfinite()) | ~(y < 1)
        y = torch.where(here, (y * 8).round() / 8, torch.zeros_like(y))
        z = self.last(y).masked_fill(y.eq(0), 0.5)
        return z * (z != y) + torch.log1p(y.abs())


class Shifted(nn.Module):
    """Temporal shifts, at half the frames: written into zeros, joined with zeros, as in TSM."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv3d(3, 4, 3, (2, 1, 1), 1), nn.Conv3d(4, 4, 3, 1, 1)

    def forward(self, x):
        y = self.first(x).transpose(1, 2)
        out = torch.zeros_like(y)
        out[:, :-1, :1] = y[:, 1:, :1]
        out[:, 2:, 1] = y[:, : y.shape[1] - 2, 1]
        out[:, :, 2:] = y[:, :, 2:]
        out[:, 1:, 3, 4:] = 0.5
        y = self.last(out.transpose(1, 2))
        none = (y - y)[:, :, :1]
        ahead = torch.cat([y[:, :2, 1:], none[:, :2]], dim=2)
        late = torch.cat([torch.ones_like(y[:, 2:, -2:]), y[:, 2:, :-2]], dim=2)
        ends = y.new_zeros(y.shape[0], 4, 1, *y.shape[3:])
        return torch.cat([ends, torch.cat([ahead, late], dim=1), ends + 2], dim=2)


class OneAxis(nn.Module):
    """A 2D network on all frames of all videos, shifted in time between its blocks, as in TSM."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4)
        self.last, self.classes = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 5)

    def forward(self, x):
        b, c, t, h, w = x.shape
        y = x.transpose(1, 2).reshape(b * t, c, h, w)
        y = self.norm(self.first(y)).relu()
        n, c, h, w = y.shape
        rows = y.view(n // t, t, c, h, w)
        out = torch.zeros_like(rows)
        out[:, :-1, :1] = rows[:, 1:, :1]
        out[:, 1:, 1:2] = rows[:, :-1, 1:2]
        out[:, :, 2:] = rows[:, :, 2:]
        # the shortcut is as late as the shift
        z = torch.cat([y, y + self.last(out.flatten(0, 1))], 1)[:, 2:6]
        return self.classes(z.amax((2, 3)).contiguous()).unflatten(0, (-1, t)).mean(1)


class Products(nn.Module):
    """Products within each frame: of channels, of two maps, attention; powers; sums into parts."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv3d(3, 4, 3, padding=1), nn.Conv3d(4, 4, 3, padding=1)
        self.mix = nn.Parameter(torch.randn(4, 4) / 4)
        self.pool = nn.LPPool3d(2, (3, 4, 4), (1, 4, 4))

    def forward(self, x):
        y = self.pool(self.first(x).relu() + 0.1) / 4
        y = torch.einsum("dc,bc...->bd...", self.mix, y)
        y = torch.einsum("bcthw,bcthw->btchw", y, self.last(y)).transpose(1, 2)
        rows = y.flatten(3).transpose(1, 2)
        weight = (rows.mT @ rows / 8).softmax(-1)
        y = y + torch.einsum("btnm,btcm->bctn", weight, rows).unflatten(3, y.shape[3:])
        y[:, :, 1:-1] += 1
        y[:, :2, 2:] -= self.last(y)[:, 2:, :-2]
        return torch.matmul(y.movedim(1, -1), self.mix).movedim(-1, 1)


class UNet(nn.Module):
    """Fewer frames and back, padded by itself, resized within frames and by repeating them."""

    def __init__(self):
        super().__init__()
        self.pad, self.stem = nn.ConstantPad3d((1, 1, 1, 1, 2, 0), -1.0), nn.Conv3d(3, 4, 3)
        self.down = nn.AvgPool3d(2, ceil_mode=True)
        self.inner = nn.Conv3d(4, 4, 3, padding=1)
        self.grow = nn.Upsample(scale_factor=(1, 2, 2), mode="trilinear", align_corners=False)
        self.last = nn.Conv3d(8, 2, 3, padding=1)

    def forward(self, x):
        x = F.relu(self.stem(self.pad(x)))[:, :, ::1, :13]
        y = self.grow(self.inner(self.down(x)))
        y = F.interpolate(y, size=x.shape[2:], mode="nearest-exact")
        return self.last(torch.cat([x, y], dim=1))


NETS = {
    "plain": lambda: nn.Sequential(nn.Conv3d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 2, 3)),
    "strided": lambda: nn.Sequential(
        nn.Conv3d(3, 4, 3, 2, 1), nn.BatchNorm3d(4), nn.ReLU(), nn.Conv3d(4, 4, 3, (2, 1, 1), 1)
    ),
    "rounded_up": lambda: nn.Sequential(nn.Conv3d(3, 4, 3), nn.MaxPool3d(2, 2, ceil_mode=True)),
    "residual": Residual,
    "separate": Separate,
    "pooled": Pooled,
    "mean": Mean,
    "masked": Masked,
    "shifted": Shifted,
    "one_axis": OneAxis,
    "products": Products,
    "unet": UNet,
}


def build(name):
    torch.manual_seed(0)
    net = NETS[name]().eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):  # as if it were trained
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net
