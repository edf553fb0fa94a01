"""The U-Nets over volumes of two papers.

Papers: Çiçek et al., 3D U-Net, MICCAI 2016, arXiv:1606.06650, Fig 2 (19,069,955 parameters: up-
convolutions without a bias, batch norm without parameters); Funke et al., Large Scale Image
Segmentation with Structured Loss, IEEE TPAMI 41, 2019, arXiv:1709.02974 (as their code has it for
CREMI: 12 maps, five times as many on each level, pools of 3 in the plane)
Differs from the papers: maps keep their size; `padding="valid"` gives the papers' shapes, smaller
outputs than inputs.

Axes: B batch, C channels, K classes, D depth, H height, W width.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lean3d.errors import LeanError
from lean3d.models.blocks import Conv
from lean3d.models.registry import register_models
from lean3d.shape import Triple, check_axes

__all__ = ["PublishedUNet", "unet3d_cicek", "unet3d_funke"]

Padding = Literal["same", "valid"]
Stage = tuple[int, int]


class PublishedUNet(nn.Module):
    """Two convolutions a level, max pools, up-convolutions, and skips of each resolution.

    Args:
        stages: Channels of the two convolutions of each level, from fine to coarse.
        ups: Channels of each up-convolution, from fine to coarse.
        pools: Factor (D, H, W) between a level and the next.
        padding: "same" keeps sizes, of any input; with "valid" each convolution takes a voxel off
            every side, and skips are cropped.
        norm: Batch norm, without parameters, before each ReLU.

    Shape: (B, C, D, H, W) -> (B, K, D, H, W), or smaller.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        stages: Sequence[Stage],
        ups: Sequence[int],
        pools: Sequence[Triple],
        *,
        conv: Conv | None = None,
        padding: Padding = "same",
        norm: bool = False,
    ):
        super().__init__()
        if padding not in ("same", "valid"):
            raise LeanError(f"a U-Net's padding is 'same' or 'valid', got {padding!r}")
        self.in_channels, self.padding = in_channels, padding
        same = padding == "same"

        def block(channels: int, outs: Stage) -> nn.Sequential:
            layers: list[nn.Module] = []
            for out in outs:
                layers.append((conv or nn.Conv3d)(channels, out, 3, padding=int(same)))
                layers += [nn.BatchNorm3d(out, affine=False)] if norm else []
                layers.append(nn.ReLU())
                channels = out
            return nn.Sequential(*layers)

        before = [in_channels, *(last for _, last in stages)]
        self.encoder = nn.ModuleList(map(block, before, stages))
        self.pools = nn.ModuleList(nn.MaxPool3d(pool, ceil_mode=same) for pool in pools)
        self.ups, self.decoder = nn.ModuleList(), nn.ModuleList()
        channels = stages[-1][1]
        for (_, skip), up, pool in reversed(list(zip(stages, ups, pools, strict=False))):
            self.ups.append(nn.ConvTranspose3d(channels, up, pool, pool, bias=not norm))
            self.decoder.append(block(up + skip, (skip, skip)))
            channels = skip
        self.head = nn.Conv3d(channels, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        check_axes(x, f"B C={self.in_channels} D H W", self)
        skips: list[Tensor] = []
        for level, stage in enumerate(self.encoder):
            x = stage(self.pools[level - 1](x) if level else x)
            skips.append(x)
        x = skips.pop()
        for up, stage in zip(self.ups, self.decoder, strict=True):
            x, skip = up(x), skips.pop()
            if self.padding == "same":
                # the pools round up
                x = x[..., : skip.shape[2], : skip.shape[3], : skip.shape[4]]
            else:
                skip = _middle(skip, x.shape[2:])
            x = stage(torch.cat([skip, x], dim=1))
        return self.head(x)


def _middle(x: Tensor, sizes: Sequence[int]) -> Tensor:
    for axis, size in enumerate(sizes, 2):
        x = x.narrow(axis, (x.shape[axis] - size) // 2, size)
    return x


@register_models(
    {"unet3d_cicek": {}},
    "3D U-Net; 19,069,955 parameters",
    "Çiçek et al., arXiv:1606.06650, Fig 2",
    (1, 3, 116, 132, 132),
)
def unet3d_cicek(
    *,
    in_channels: int = 3,
    num_classes: int = 3,
    widths: Sequence[int] = (32, 64, 128, 256),
    conv: Conv | None = None,
    padding: str = "same",
    keep_depth: int = 0,
) -> PublishedUNet:
    """The 3D U-Net of Çiçek et al.

    Args:
        widths: Channels of the first convolution of each level; the second doubles them.
        padding: "valid" for the paper's shapes: 116 x 132 x 132 gives 28 x 44 x 44.
        keep_depth: How many of the first pools leave the depth alone.
    """
    _check(widths, keep_depth)
    levels = range(len(widths) - 1)
    pools: list[Triple] = [(1 if level < keep_depth else 2, 2, 2) for level in levels]
    stages = [(width, 2 * width) for width in widths]
    more: Any = dict(conv=conv, padding=padding, norm=True)
    # an up-convolution keeps the channels of the level that it comes from
    ups = [2 * width for width in widths[1:]]
    return PublishedUNet(in_channels, num_classes, stages, ups, pools, **more)


@register_models(
    {"unet3d_funke": {}},
    "U-Net of affinities for thick sections; 87,753,495 parameters",
    "Funke et al., arXiv:1709.02974, Sec 3",
    (1, 1, 84, 268, 268),
)
def unet3d_funke(
    *,
    in_channels: int = 1,
    num_classes: int = 3,
    widths: Sequence[int] = (12, 60, 300, 1500),
    conv: Conv | None = None,
    padding: str = "same",
) -> PublishedUNet:
    """The U-Net of Funke et al. for CREMI, whose pools of 3 leave the depth alone.

    Args:
        padding: "valid" for the paper's shapes: 84 x 268 x 268 gives 56 x 56 x 56.
    """
    _check(widths, 0)
    more: Any = dict(conv=conv, padding=padding)
    stages, pools = [(width, width) for width in widths], [(1, 3, 3)] * (len(widths) - 1)
    return PublishedUNet(in_channels, num_classes, stages, widths[:-1], pools, **more)


def _check(widths: Sequence[int], keep_depth: int) -> None:
    if len(widths) < 2 or min(widths) < 1 or not 0 <= keep_depth < len(widths):
        raise LeanError(
            f"a U-Net needs two widths of a channel or more, and keep_depth from 0 to its "
            f"{max(len(widths) - 1, 0)} pools; got {tuple(widths)} and {keep_depth}"
        )
