"""X3D: a network for clips grown from a tiny one, depthwise and with squeeze-and-excitation.

Paper: Feichtenhofer, X3D, arXiv:2004.04730, Sec 3.1, Tables 1 and 3. D3D (arXiv:2009.14639) lists
it in Table 5.
Differs from the paper: scores are logits, without a softmax.
Parameter names are those of pytorchvideo, whose stem calls the spatial convolution `conv_t` and the
temporal one `conv_xy`.

Axes: B batch, C channels, T time (D, depth, for volumes), H height, W width.
"""

from collections import OrderedDict

from torch import Tensor, nn

from lean3d.models.blocks import Conv, initialise
from lean3d.models.registry import register_models
from lean3d.shape import check_axes

__all__ = ["X3D", "Excitation", "X3DBlock"]

STEM = 24
# channels and blocks of the four stages; each halves height and width
STAGES = ((24, 3), (48, 5), (96, 11), (192, 7))
EXPANSION, SQUEEZE, HEAD = 2.25, 1 / 16, 2048


def squeezed(channels: int) -> int:
    """Return a sixteenth of the channels, to the nearest 8 and never more than a tenth below."""
    exact = channels * SQUEEZE
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


class Excitation(nn.Module):
    """Scale every channel by weights computed from all means (squeeze-and-excitation)."""

    def __init__(self, channels: int):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.block = nn.Sequential(
            nn.Conv3d(channels, squeezed(channels), 1),
            nn.ReLU(),
            nn.Conv3d(squeezed(channels), channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.block(self.pool(x))


def branch(channels: int, mid: int, out: int, stride: int, excite: bool, conv: Conv):
    """Widen, depthwise `conv`, excitation if asked, narrow."""
    size = dict(stride=(1, stride, stride), padding=1, groups=mid, bias=False)
    norm = nn.Sequential(nn.BatchNorm3d(mid), Excitation(mid) if excite else nn.Identity())
    layers = dict(
        conv_a=nn.Conv3d(channels, mid, 1, bias=False),
        norm_a=nn.BatchNorm3d(mid),
        act_a=nn.ReLU(),
        conv_b=conv(mid, mid, 3, **size),
        norm_b=norm,
        act_b=nn.SiLU(),
        conv_c=nn.Conv3d(mid, out, 1, bias=False),
        norm_c=nn.BatchNorm3d(out),
    )
    return nn.Sequential(OrderedDict(layers))


class X3DBlock(nn.Module):
    """An inverted bottleneck and its shortcut. Shape: (B, C, T, H, W) -> (B, C', T, H/s, W/s)."""

    def __init__(self, channels: int, out: int, stride: int, excite: bool, conv: Conv):
        super().__init__()
        self.branch1_conv = self.branch1_norm = None
        if stride > 1 or channels != out:
            step = (1, stride, stride)
            self.branch1_conv = nn.Conv3d(channels, out, 1, step, bias=False)
        if channels != out:
            self.branch1_norm = nn.BatchNorm3d(out)
        self.branch2 = branch(channels, int(EXPANSION * out), out, stride, excite, conv)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        kept = x if self.branch1_conv is None else self.branch1_conv(x)
        kept = kept if self.branch1_norm is None else self.branch1_norm(kept)
        return self.activation(kept + self.branch2(x))


def stage(channels: int, out: int, depth: int, conv: Conv) -> nn.Module:
    """Blocks of one resolution; every second one has excitation."""
    blocks = [
        X3DBlock(out if i else channels, out, 1 if i else 2, i % 2 == 0, conv) for i in range(depth)
    ]
    return nn.Sequential(OrderedDict(res_blocks=nn.Sequential(*blocks)))


def stem(in_channels: int) -> nn.Module:
    """Space (1, 3, 3), then five frames depthwise."""
    space = nn.Conv3d(in_channels, STEM, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False)
    time = nn.Conv3d(STEM, STEM, (5, 1, 1), padding=(2, 0, 0), groups=STEM, bias=False)
    both = nn.Sequential(OrderedDict(conv_t=space, conv_xy=time))
    layers = dict(conv=both, norm=nn.BatchNorm3d(STEM), activation=nn.ReLU())
    return nn.Sequential(OrderedDict(layers))


def head(channels: int, num_classes: int, dropout: float) -> nn.Module:
    """1x1x1, the mean over all positions, two linear layers."""
    mid = int(EXPANSION * channels)
    pool = dict(
        pre_conv=nn.Conv3d(channels, mid, 1, bias=False),
        pre_norm=nn.BatchNorm3d(mid),
        pre_act=nn.ReLU(),
        pool=nn.AdaptiveAvgPool3d(1),
        post_conv=nn.Conv3d(mid, HEAD, 1, bias=False),
        post_act=nn.ReLU(),
    )
    layers = dict(
        pool=nn.Sequential(OrderedDict(pool)),
        flatten=nn.Flatten(),
        dropout=nn.Dropout(dropout),
        proj=nn.Linear(HEAD, num_classes),
    )
    return nn.Sequential(OrderedDict(layers))


class X3D(nn.Module):
    """Stem, four stages that halve height and width, head. Shape: (B, C, T, H, W) -> (B, K).

    There is no temporal stride; any clip length is accepted.
    """

    def __init__(self, in_channels: int, num_classes: int, dropout: float, conv: Conv):
        super().__init__()
        self.in_channels = in_channels
        blocks, channels = [stem(in_channels)], STEM
        for out, depth in STAGES:
            blocks.append(stage(channels, out, depth, conv))
            channels = out
        self.blocks = nn.Sequential(*blocks, head(channels, num_classes, dropout))
        initialise(self)
        for module in self.modules():
            if isinstance(module, X3DBlock):
                # a block is initialised as its shortcut
                nn.init.zeros_(module.branch2.norm_c.weight)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        check_axes(x_BCTHW, f"B C={self.in_channels} T H W", self)
        return self.blocks(x_BCTHW)


@register_models(
    {"x3d_m": {}},
    "X3D-M; X3D-S and XS are the same network on smaller clips",
    "X3D, arXiv:2004.04730, Table 1",
    (1, 3, 16, 224, 224),
)
def x3d_m(
    *,
    in_channels: int = 3,
    num_classes: int = 400,
    dropout: float = 0.5,
    conv: Conv = nn.Conv3d,
) -> X3D:
    """X3D-M, 3,794,274 parameters, for Kinetics-400.

    Args:
        conv: The operator of every 3x3x3 kernel; it is given as many groups as channels.
    """
    return X3D(in_channels, num_classes, dropout, conv)
