"""UNet in 2D and 3D from one definition, for any operator with the arguments of nn.Conv3d.

Papers: Ronneberger et al., U-Net, arXiv:1505.04597; with the default widths and skips, the
network of the proof of concept of Yang et al. (ACS), arXiv:1911.10477, Appendix B.

Axes: B batch, C channels, D depth, H height, W width.
"""

from collections.abc import Sequence
from typing import Any, Literal, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.errors import LeanError
from lean3d.models.blocks import Conv
from lean3d.models.registry import register_models
from lean3d.ops.views import PlaneConv3d
from lean3d.shape import check_axes

__all__ = ["UNet", "unet"]

KINDS = {2: (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d), 3: (nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d)}


def keeps_2d_weights(conv: Conv | None) -> TypeGuard[Conv]:
    """Whether an operator, or a partial of one, has the weights of nn.Conv2d."""
    kind = getattr(conv, "func", conv)
    return isinstance(kind, type) and issubclass(kind, PlaneConv3d)


class UNet(nn.Module):
    """Encoder, decoder and skips; each block is `convs` times conv 3, batch norm, ReLU.

    Args:
        dims: 2 for images, 3 for volumes.
        widths: Channels of the encoder's stages, with a pool of 2 between stages.
        conv: The operator of every kernel of 3; None for nn.Conv2d or nn.Conv3d. The 1x1 head is
            plain, unless the operator keeps 2D weights: then the head does too.
        convs: Operators per block; 1 if one unit replaces two, as PmSCn's P2SC2 does.
        skip: "full" passes on each stage's own resolution, as U-Net does; "pooled" pools after
            every stage, passes on the pooled map, and halves the channels of a decoder block at
            its end, as the ACS proof of concept does.
        narrow: Whether a 1x1 kernel reduces the upsampled map to the channels of the skip, as
            U-Net's up-convolution does.
        keep_depth: Volumes only: how many of the first pools leave the depth alone, for volumes of
            thick slices.

    Shape: (B, C, [D,] H, W) -> (B, K, [D,] H, W); any size.

    Raises:
        LeanError: fewer than two widths of two channels, `convs` below 1, no such `skip`, or
            `keep_depth` above the number of pools or for images.
    """

    def __init__(
        self,
        dims: Literal[2, 3],
        in_channels: int,
        num_classes: int,
        widths: Sequence[int],
        *,
        conv: Conv | None = None,
        convs: int = 2,
        skip: Literal["pooled", "full"] = "pooled",
        narrow: bool = False,
        keep_depth: int = 0,
    ):
        super().__init__()
        if skip not in ("pooled", "full"):
            raise LeanError(f"UNet: skip is 'pooled' or 'full', got {skip!r}")
        if len(widths) < 2 or min(widths) < 2 or convs < 1:
            raise LeanError(
                f"UNet needs two widths of two channels and one conv, got {widths}, {convs}"
            )
        plain, norm, pool = KINDS[dims]
        pointwise = conv if keeps_2d_weights(conv) else plain
        self.in_channels, self.skip = in_channels, skip
        levels = len(widths) if skip == "pooled" else len(widths) - 1
        if keep_depth and (dims == 2 or keep_depth > levels):
            raise LeanError(
                f"UNet: keep_depth is at most the {levels} pools of a volume's network, got "
                f"{keep_depth} for {dims}D"
            )
        sizes = [(1, 2, 2) if level < keep_depth else 2 for level in range(levels)]
        self.pools = nn.ModuleList(pool(size, ceil_mode=True) for size in sizes)

        def block(channels: int, *outs: int) -> nn.Sequential:
            layers: list[nn.Module] = []
            for out in outs:
                layers += [(conv or plain)(channels, out, 3, padding=1), norm(out), nn.ReLU()]
                channels = out
            return nn.Sequential(*layers)

        pairs = zip((in_channels, *widths), widths, strict=False)
        self.encoder = nn.ModuleList(block(before, *[width] * convs) for before, width in pairs)
        self.decoder, self.narrow = nn.ModuleList(), nn.ModuleList()
        channels = widths[-1]
        for width in reversed(widths[:-1]):
            self.narrow.append(pointwise(channels, width, 1) if narrow else nn.Identity())
            channels = width if narrow else channels
            out = width // 2 if skip == "pooled" else width
            self.decoder.append(block(channels + width, *[width] * (convs - 1), out))
            channels = out
        self.head = pointwise(channels, num_classes, 1)

    @property
    def dims(self) -> int:
        """2 for images, 3 for volumes; a conversion changes it."""
        return 3 if isinstance(self.pools[0], nn.MaxPool3d) else 2

    def forward(self, x: Tensor) -> Tensor:
        check_axes(x, " ".join(["B", f"C={self.in_channels}", *"DHW"[-self.dims :]]), self)
        size, skips = x.shape[2:], []
        for level, stage in enumerate(self.encoder):
            if self.skip == "full" and level:
                x = self.pools[level - 1](x)
            x = stage(x)
            if self.skip == "pooled":
                x = self.pools[level](x)
            skips.append(x)
        x = skips.pop()
        for narrow, stage in zip(self.narrow, self.decoder, strict=True):
            skip = skips.pop()
            x = stage(torch.cat([self._resize(narrow(x), skip.shape[2:]), skip], dim=1))
        return self.head(self._resize(x, size))

    def _resize(self, x: Tensor, size: Sequence[int]) -> Tensor:
        return x if x.shape[2:] == size else F.interpolate(x, size=list(size), mode="nearest")


@register_models(
    {"unet2d": dict(dims=2)},
    "UNet over images; 389,286 parameters",
    "ACS, arXiv:1911.10477, Table 3",
    (1, 1, 48, 48),
)
@register_models(
    {"unet3d": dict(dims=3)},
    "UNet over volumes; 1,164,582 parameters with nn.Conv3d, 389,286 with ACSConv3d",
    "ACS, arXiv:1911.10477, Table 3",
    (1, 1, 48, 48, 48),
)
def unet(
    dims: Literal[2, 3],
    *,
    in_channels: int = 1,
    num_classes: int = 6,
    widths: Sequence[int] = (64, 128),
    conv: Conv | None = None,
    convs: int = 2,
    skip: Literal["pooled", "full"] = "pooled",
    narrow: bool = False,
    keep_depth: int = 0,
) -> UNet:
    """UNet with the widths and the skips of the ACS proof of concept."""
    sizes = in_channels, num_classes, widths
    more: Any = dict(convs=convs, skip=skip, narrow=narrow, keep_depth=keep_depth)
    return UNet(dims, *sizes, conv=conv, **more)
