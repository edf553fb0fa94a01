"""Dissected ResNets: causal, with no frame computed twice.

Paper: Köpüklü et al., Dissected 3D CNNs: Temporal Skip Connections for Efficient Online Video
Processing (D3D), arXiv:2009.14639, Sec 3, Table 1, Figs 3 and 4
Differs from the paper: 18 layers have zero-padded shortcuts and 50 and 101 projections, conv_last
has no batch norm; only this gives the parameters of Table 4. The padding before the first frame,
and before the first feature of the fc head, is an option.

Axes: B batch, C channels, F features, T time, H height, W width, K classes.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from torch import Tensor, nn

from lean3d.errors import LeanError
from lean3d.models.blocks import (
    WIDTHS,
    Conv,
    Residual,
    initialise,
    normed,
    projection,
    space_pool,
    stages,
)
from lean3d.models.hara_resnet import DEPTHS, zero_padding
from lean3d.models.registry import register_models
from lean3d.ops.causal import CausalConv3d
from lean3d.ops.causal_pools import Past, WithPrevious
from lean3d.ops.heads import EmbeddingHead, RecurrentHead, WindowHead
from lean3d.shape import check_axes

__all__ = ["DResNet", "d_resnet"]

Skip = Literal["concat", "sum", "none"]
Head = Literal["fc", "lstm", "gru", "embedding", "mean", "none"]
First = Literal["replicate", "zeros"]
SKIPS, HEADS, FIRSTS = (
    ("concat", "sum", "none"),
    ("fc", "lstm", "gru", "embedding", "mean", "none"),
    ("replicate", "zeros"),
)


def causal(
    in_channels: int,
    out_channels: int,
    kernel: tuple[int, int],
    stride: int = 1,
    *,
    conv: Conv | None = None,
    first: First = "replicate",
) -> nn.Module:
    """A kernel of (frames, side) over the present frame and those before it."""
    frames, side = kernel
    size = ((frames, side, side), (1, stride, stride), (0, side // 2, side // 2))
    if conv is None:
        return CausalConv3d(
            in_channels, out_channels, *size, bias=False, past=frames - 1, first=first
        )
    wide = conv(in_channels, out_channels, *size, bias=False)
    return nn.Sequential(Past(frames - 1, first), wide) if frames > 1 else wide


def linked(
    in_channels: int, channels: int, stride: int, *, skip: Skip, conv: Conv | None, first: First
) -> nn.Module:
    """The convolution of a block that uses the previous frame, in one of the forms of Table 2."""
    kernel = (2 if skip == "concat" else 1, 3)
    layer = causal(in_channels, channels, kernel, stride, conv=conv, first=first)
    return nn.Sequential(WithPrevious(first), layer) if skip == "sum" else layer


def simple(
    in_channels: int, channels: int, stride: int, *, skip: Skip, conv: Conv | None, first: First
) -> Residual:
    """Fig 3, left: 2x3x3 with the previous frame, then 1x3x3."""
    joint = linked(in_channels, channels, stride, skip=skip, conv=conv, first=first)
    plane = causal(channels, channels, (1, 3), conv=conv)
    return Residual(
        normed(joint, channels),
        normed(plane, channels, relu=False),
        downsample=zero_padding(in_channels, channels, (1, stride, stride)),
    )


def bottleneck(
    in_channels: int,
    channels: int,
    stride: int,
    *,
    expansion: int,
    skip: Skip,
    conv: Conv | None,
    first: First,
) -> Residual:
    """Fig 3, right: 1x1x1, 2x3x3 with the previous frame, 1x1x1."""
    joint = linked(channels, channels, stride, skip=skip, conv=conv, first=first)
    out_channels = channels * expansion
    return Residual(
        normed(causal(in_channels, channels, (1, 1)), channels),
        normed(joint, channels),
        normed(causal(channels, out_channels, (1, 1)), out_channels, relu=False),
        downsample=projection(in_channels, out_channels, (1, stride, stride)),
    )


class DResNet(nn.Module):
    """Stem, stages, the mean over each frame, and a head over the features of frames.

    Shape: (B, C, T, H, W) -> (B, K), the output for the last frame; (B, F, T) without a head.
    State: in a stream the previous input of each 2x3x3 kernel, two frames, and the head's.
    """

    def __init__(
        self,
        stem: nn.Module,
        layers: Sequence[nn.Module],
        last: nn.Module,
        head: nn.Module,
        in_channels: int,
    ):
        super().__init__()
        self.in_channels = in_channels
        self.stem = stem
        self.layer1, self.layer2, self.layer3, self.layer4 = layers
        self.conv_last = last
        self.avgpool = nn.AdaptiveAvgPool3d((None, 1, 1))
        self.head = head
        initialise(self)

    def features(self, x_BCTHW: Tensor) -> Tensor:
        """(B, F, T), what the recurrent heads of Sec 3.2 are trained on."""
        check_axes(x_BCTHW, f"B C={self.in_channels} T H W", self)
        y = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x_BCTHW)))))
        return self.avgpool(self.conv_last(y)).flatten(2)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        return self.head(self.features(x_BCTHW))


@register_models(
    {f"d_resnet_{depth}": dict(depth=depth) for depth in (18, 50, 101)},
    "Dissected ResNet of {depth} layers: causal, reads previous feature maps alone",
    "D3D, arXiv:2009.14639, Table 1",
    (1, 3, 19, 112, 112),
)
def d_resnet(
    depth: int,
    *,
    in_channels: int = 3,
    num_classes: int = 600,
    widths: Sequence[int] = WIDTHS,
    conv: Conv | None = None,
    skip: Skip = "concat",
    frames: Literal[1, 3] = 3,
    first: First = "replicate",
    head: Head = "fc",
    window: int = 16,
    layers: int | None = None,
    hidden: int = 1024,
    dropout: float = 0.0,
) -> DResNet:
    """D-ResNet; `lean3d.stream` runs it one frame at a time.

    Args:
        conv: The operator of every kernel of 3; CausalConv3d if not given.
        skip: How a block uses the previous frame: concatenated, added, or not at all.
        frames: Frames of the stem's kernel: the present one, or also the two before it.
        first: Padding before the first frame, at every layer: copies of it, or zeros.
        head: Linear layers over the last features, a recurrent one, an embedding (a vector of
            `num_classes` values a frame, and their mean), the mean of the features, or none.
        window: Features the fc head uses.
        layers: Of the fc head (1 by default) or of a recurrent one (2 by default), of `hidden`
            outputs, with `dropout` between them.
    """
    known = {"skip": (skip, SKIPS), "frames": (frames, (1, 3)), "first": (first, FIRSTS)}
    for name, (value, values) in {**known, "head": (head, HEADS)}.items():
        if value not in values:
            raise LeanError(f"d_resnet_{depth}: {name} is one of {values}, got {value!r}")
    if layers is not None and (layers < 1 or head in ("embedding", "mean", "none")):
        raise LeanError(
            f"d_resnet_{depth}: layers is 1 or more, of the heads fc, lstm and gru; got {layers} "
            f"with head={head!r}"
        )
    blocks, expansion = DEPTHS[depth]
    options: dict[str, Any] = dict(skip=skip, conv=conv, first=first)
    wide = partial(bottleneck, expansion=expansion, **options)
    block = partial(simple, **options) if expansion == 1 else wide
    start = normed(causal(in_channels, widths[0], (frames, 7), 2, first=first), widths[0])
    features = widths[-1]
    last: nn.Module = nn.Identity()
    if expansion > 1:
        last = causal(features * expansion, features, (1, 1))
    end: nn.Module = nn.Identity()
    if head == "fc":
        end = WindowHead(features, num_classes, window, first, layers or 1, hidden, dropout)
    elif head == "embedding":
        end = EmbeddingHead(features, num_classes)
    elif head == "mean":
        if num_classes != features:
            raise LeanError(
                f"d_resnet_{depth}: head='mean' returns its {features} features, so num_classes is "
                f"{features}, got {num_classes}; head='embedding' has any size"
            )
        end = EmbeddingHead(features)
    elif head != "none":
        end = RecurrentHead(features, num_classes, head, layers or 2, hidden, dropout)
    parts = stages([block] * 4, blocks, widths, expansion)
    return DResNet(start.append(space_pool()), parts, last, end, in_channels)
