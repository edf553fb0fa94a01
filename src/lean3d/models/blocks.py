"""Building blocks of residual networks for video, with the parameter names of torchvision's.

Axes: B batch, C channels, T time (D, depth, for volumes), H height, W width.
"""

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor, nn

from lean3d.errors import LeanError
from lean3d.ops.base import Conv3dLike
from lean3d.ops.causal import CausalConv3d
from lean3d.shape import Triple, check_axes, triple

__all__ = [
    "WIDTHS",
    "Block",
    "Conv",
    "Residual",
    "VideoResNet",
    "Widen",
    "bottleneck",
    "depthwise",
    "initialise",
    "normed",
    "projection",
    "simple",
    "space_pool",
    "stages",
    "stem",
]

# called with the arguments of nn.Conv3d
Conv = Callable[..., nn.Module]
# a shortcut, called with the channels before and after it and the stride
Widen = Callable[[int, int, int | Triple], nn.Module | None]
# called with the input channels, the width of the stage and the stride
Block = Callable[[int, int, int], nn.Module]
WIDTHS = (64, 128, 256, 512)


def normed(conv: nn.Module, channels: int, *, relu: bool = True) -> nn.Sequential:
    """An operator, its batch norm and its ReLU."""
    layers = [conv, nn.BatchNorm3d(channels)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)


def projection(in_channels: int, out_channels: int, stride: int | Triple) -> nn.Sequential | None:
    """The 1x1x1 convolution of a shortcut whose ends differ; None if they do not."""
    if in_channels == out_channels and triple(stride) == (1, 1, 1):
        return None
    conv = nn.Conv3d(in_channels, out_channels, 1, stride, bias=False)
    return normed(conv, out_channels, relu=False)


def depthwise(conv: Conv) -> Conv:
    """The operator with one group per input channel."""

    def build(in_channels: int, *args, **kwargs) -> nn.Module:
        return conv(in_channels, *args, groups=in_channels, **kwargs)

    return build


class Residual(nn.Module):
    """Layers conv1, conv2, ... around a shortcut, then ReLU.

    Args:
        downsample: The module of the shortcut; None for the identity.

    Shape: (B, C, T, H, W) -> the output of the layers.
    """

    def __init__(self, *layers: nn.Module, downsample: nn.Module | None = None):
        super().__init__()
        self.layers = [f"conv{index}" for index in range(1, len(layers) + 1)]
        for name, layer in zip(self.layers, layers, strict=True):
            self.add_module(name, layer)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for name in self.layers:
            y = getattr(self, name)(y)
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def simple(
    in_channels: int,
    channels: int,
    stride: int | Triple,
    *,
    conv: Conv,
    kernel: int | Triple = 3,
    widen: Widen = projection,
) -> Residual:
    """The simple block: two operators of odd kernels, the first has the stride."""
    same = tuple(size // 2 for size in triple(kernel))
    last = conv(channels, channels, kernel, 1, same, bias=False)
    return Residual(
        normed(conv(in_channels, channels, kernel, stride, same, bias=False), channels),
        normed(last, channels, relu=False),
        downsample=widen(in_channels, channels, stride),
    )


def bottleneck(
    in_channels: int,
    channels: int,
    stride: int | Triple,
    *,
    conv: Conv,
    expansion: int = 4,
    pointwise: Conv = nn.Conv3d,
    widen: Widen = projection,
) -> Residual:
    """The bottleneck block: 1x1x1, a k x k x k operator that has the stride, 1x1x1."""
    out_channels = channels * expansion
    last = pointwise(channels, out_channels, 1, bias=False)
    return Residual(
        normed(pointwise(in_channels, channels, 1, bias=False), channels),
        normed(conv(channels, channels, 3, stride, 1, bias=False), channels),
        normed(last, out_channels, relu=False),
        downsample=widen(in_channels, out_channels, stride),
    )


def stages(
    blocks: Sequence[Block], depths: Sequence[int], widths: Sequence[int], expansion: int = 1
) -> list[nn.Sequential]:
    """One stage for each kind of block; the first block of each but the first has stride 2."""
    if len(widths) != len(depths) or min(widths) < 1:
        raise LeanError(f"widths are {len(depths)} numbers of channels, got {tuple(widths)}")
    result: list[nn.Sequential] = []
    channels = widths[0]
    for block, depth, width in zip(blocks, depths, widths, strict=True):
        stage = nn.Sequential()
        for index in range(depth):
            stage.append(block(channels, width, 2 if result and index == 0 else 1))
            channels = width * expansion
        result.append(stage)
    return result


def stem(in_channels: int, channels: int, *, pool: bool) -> nn.Sequential:
    """3x7x7 that halves height and width, batch norm, ReLU, and a pool that halves them again."""
    conv = nn.Conv3d(in_channels, channels, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)
    layers = normed(conv, channels)
    return layers.append(space_pool()) if pool else layers


def space_pool() -> nn.MaxPool3d:
    """The pool that follows a stem, without temporal stride."""
    return nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))


class VideoResNet(nn.Module):
    """Stem, stages layer1, layer2, ..., the mean over time and space, and a linear layer.

    Shape: (B, C, T, H, W) -> (B, K); any size.
    """

    def __init__(
        self,
        stem: nn.Module,
        stages: Iterable[nn.Module],
        *,
        in_channels: int,
        features: int,
        num_classes: int,
    ):
        super().__init__()
        self.in_channels = in_channels
        self.stem = stem
        self.stages = []
        for index, stage in enumerate(stages, start=1):
            self.stages.append(f"layer{index}")
            self.add_module(self.stages[-1], stage)
        self.avgpool = nn.AdaptiveAvgPool3d(1)
        self.fc = nn.Linear(features, num_classes)
        initialise(self)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        check_axes(x_BCTHW, f"B C={self.in_channels} T H W", self)
        y = self.stem(x_BCTHW)
        for name in self.stages:
            y = getattr(self, name)(y)
        return self.fc(self.avgpool(y).flatten(1))


def initialise(model: nn.Module, scores: Iterable[nn.Module] = ()) -> None:
    """He et al.'s normal of the fan out for nn.Conv3d, N(0, 0.01) for nn.Linear, biases zero.

    `scores` are convolutions that give classes, and start as nn.Linear does: by their fan out,
    which is small, probabilities would start near 0 and 1.
    CausalConv3d counts as nn.Conv3d. Batch norm starts as the identity; other operators keep their
    own initialisation, unless they contain an nn.Conv3d.
    """
    heads = set(scores)
    for module in model.modules():
        plain = not isinstance(module, Conv3dLike) or isinstance(module, CausalConv3d)
        if isinstance(module, nn.Conv3d) and plain:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv3d) and module in heads):
            nn.init.normal_(module.weight, std=0.01)
        if isinstance(module, nn.Conv3d | nn.Linear) and plain and module.bias is not None:
            nn.init.zeros_(module.bias)
