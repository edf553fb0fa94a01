"""What residual networks over video are made of, with the parameter names of torchvision's.

Axes: B batch, C channels, T time (D, depth, for volumes), H height, W width.
"""

from collections.abc import Callable, Iterable

from torch import Tensor, nn

from lean3d.shape import check_axes

__all__ = ["Conv", "Residual", "VideoResNet", "initialise", "normed", "projection"]

# called with the arguments of nn.Conv3d
Conv = Callable[..., nn.Module]


def normed(conv: nn.Module, channels: int, *, relu: bool = True) -> nn.Sequential:
    """An operator, its batch norm and its ReLU."""
    layers = [conv, nn.BatchNorm3d(channels)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)


def projection(
    in_channels: int, out_channels: int, stride: int | tuple[int, int, int]
) -> nn.Sequential | None:
    """The 1x1x1 convolution of a shortcut whose ends differ; None where they do not."""
    if in_channels == out_channels and stride in (1, (1, 1, 1)):
        return None
    conv = nn.Conv3d(in_channels, out_channels, 1, stride, bias=False)
    return normed(conv, out_channels, relu=False)


class Residual(nn.Module):
    """Layers conv1, conv2, ... around a shortcut, then ReLU.

    Args:
        downsample: What the shortcut does; None for the identity.

    Shape: (B, C, T, H, W) -> what the layers give.
    """

    def __init__(self, *layers: nn.Module, downsample: nn.Module | None = None):
        super().__init__()
        for index, layer in enumerate(layers, start=1):
            self.add_module(f"conv{index}", layer)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample
        self.depth = len(layers)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for index in range(1, self.depth + 1):
            y = getattr(self, f"conv{index}")(y)
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


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
        stages = list(stages)
        for index, stage in enumerate(stages, start=1):
            self.add_module(f"layer{index}", stage)
        self.stages = len(stages)
        self.avgpool = nn.AdaptiveAvgPool3d(1)
        self.fc = nn.Linear(features, num_classes)
        initialise(self)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        check_axes(x_BCTHW, f"B C={self.in_channels} T H W", self)
        y = self.stem(x_BCTHW)
        for index in range(1, self.stages + 1):
            y = getattr(self, f"layer{index}")(y)
        return self.fc(self.avgpool(y).flatten(1))


def initialise(model: nn.Module) -> None:
    """He et al.'s normal of the fan out for nn.Conv3d, N(0, 0.01) for nn.Linear, biases zero.

    Batch norm starts as the identity; an operator that is and holds no nn.Conv3d keeps its own.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
        if isinstance(module, nn.Conv3d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
