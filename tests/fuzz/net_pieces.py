"""The pieces that random 2D networks are made of; modules and functions in about equal parts."""

import torch
import torch.nn.functional as F
from torch import nn

ACTS = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "tanh": torch.tanh,
    "hardswish": F.hardswish,
}


class Net(nn.Sequential):
    """Pieces in a row."""


class Act(nn.Module):
    def __init__(self, name):
        super().__init__()
        self.name = name

    def forward(self, x):
        return ACTS[self.name](x)


class Residual(nn.Module):
    def __init__(self, *pieces):
        super().__init__()
        self.branch = nn.Sequential(*pieces)

    def forward(self, x):
        return x + self.branch(x)


class Cat(nn.Module):
    """Branches of one size side by side in the channels."""

    def __init__(self, *branches):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], 1)


class Bottleneck(nn.Module):
    """Down, through, and up again to the size of a skip."""

    def __init__(self, down, inner, mode):
        super().__init__()
        self.down, self.inner, self.mode = down, inner, mode

    def forward(self, x):
        y = self.inner(self.down(x))
        more = {} if self.mode == "nearest" else dict(align_corners=False)
        return torch.cat([x, F.interpolate(y, size=x.shape[2:], mode=self.mode, **more)], 1)


class SE(nn.Module):
    """Squeeze-and-excitation, spelt in four ways."""

    def __init__(self, channels, way):
        super().__init__()
        self.way, flat = way, way in ("linear", "pool_flatten")
        self.gate = nn.Linear(channels, channels) if flat else nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        if self.way == "mean":
            return x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid()
        if self.way == "pool":
            return x * self.gate(F.adaptive_avg_pool2d(x, 1)).sigmoid()
        batch, channels = x.shape[:2]
        means = x.mean((-2, -1)) if self.way == "linear" else F.adaptive_avg_pool2d(x, 1).flatten(1)
        return x * self.gate(means).sigmoid().view(batch, channels, 1, 1)


class ChannelsLast(nn.Module):
    """A layer norm and a linear layer over the channels, which stand last meanwhile."""

    def __init__(self, channels, out):
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(channels), nn.Linear(channels, out)

    def forward(self, x):
        return self.linear(self.norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


class Shuffle(nn.Module):
    """Channels of groups by turns."""

    def __init__(self, groups):
        super().__init__()
        self.groups = groups

    def forward(self, x):
        batch, channels, height, width = x.shape
        x = x.view(batch, self.groups, channels // self.groups, height, width)
        return x.transpose(1, 2).reshape(batch, channels, height, width)


class Standardised(nn.Conv2d):
    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Call(nn.Module):
    """A function of torch.nn.functional, or of the library's own, on the map."""

    def __init__(self, name, *args, **kwargs):
        super().__init__()
        self.name, self.args, self.kwargs = name, args, kwargs

    def forward(self, x):
        if self.name == "every_second":
            return x[:, :, ::2, ::2]
        if self.name == "halves":
            first, second = x.chunk(2, dim=1)
            return torch.cat([second, first.relu()], dim=1)
        if self.name == "response":  # global response norm
            size = x.square().sum((2, 3), keepdim=True).sqrt()
            return x * size / size.mean(1, keepdim=True).clamp(min=1e-9)
        if self.name == "norm2d":
            mean = x.mean(1, keepdim=True)
            return (x - mean) / ((x - mean).square().mean(1, keepdim=True) + 1e-6).sqrt()
        return getattr(F, self.name)(x, *self.args, **self.kwargs)


class Head(nn.Module):
    def __init__(self, channels, out, way):
        super().__init__()
        self.way, self.fc = way, nn.Linear(channels, out)

    def forward(self, x):
        if self.way == "mean":
            return self.fc(x.mean((2, 3)))
        if self.way == "pool":
            return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1))
        return self.fc(F.adaptive_max_pool2d(x, 1).squeeze(-1).squeeze(-1))
