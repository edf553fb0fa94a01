"""Inflate 2D kernels to 3D ones.

Paper: Carreira and Zisserman, Quo Vadis, Action Recognition? (I3D), arXiv:1705.07750, Sec 2.4
Differs from the paper: depth is padded by its border slices, so that a volume that repeats one
image gives the 2D output up to its ends (zeros on request).

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from torch import Tensor, nn

from lean3d.conversion.methods import register_method
from lean3d.conversion.to3d.base import Converted, Site, To3D
from lean3d.conversion.to3d.geometry import like_height, transposed_arguments
from lean3d.errors import ConversionError
from lean3d.ops.inflated import InflatedConv3d, InflatedConvTranspose3d

__all__ = ["Inflate"]


NAMES = {
    "inflate": {},
    "i3d": {"depth": None, "pad": "zeros"},
    "conv3d": {"depth": None, "fill": "fresh", "pad": "zeros"},
}


@register_method(NAMES, "a 3D kernel: the 2D one along depth, or with conv3d a new one")
@dataclass(frozen=True)
class Inflate(To3D):
    """Repeat every 2D kernel along depth.

    A 1x1 kernel stays one voxel deep. A transposed kernel becomes as deep as it is high, because
    it has to cover its stride.

    Args:
        depth: Taps along depth, odd; None for as many as the kernel is high.
        fill: "mean" repeats the kernel and divides by `depth`; "center" puts it in the middle of
            zeros, which preserves the 2D output on any volume; "fresh" re-initialises a 3D
            kernel as nn.Conv3d does, from torch's random state (one that a forward computes is
            repeated).
        pad: Padding mode along depth.
    """

    depth: int | None = 3
    fill: Literal["mean", "center", "fresh"] = "mean"
    pad: Literal["replicate", "zeros"] = "replicate"
    planar_is_enough: ClassVar[bool] = True
    keeps_kernels: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        odd = isinstance(self.depth, int) and self.depth > 0 and self.depth % 2 == 1
        if self.depth is not None and not odd:
            raise ConversionError(f"Inflate: depth is an odd number of taps, got {self.depth!r}")
        fills, pads = ("mean", "center", "fresh"), ("replicate", "zeros")
        for name, allowed in (("fill", fills), ("pad", pads)):
            if getattr(self, name) not in allowed:
                raise ConversionError(
                    f"Inflate: {name} is one of {allowed}, got {getattr(self, name)!r}"
                )

    @property
    def keeps_weights(self) -> bool:
        return self.fill != "fresh"

    def weights(self, module: nn.Module, weight: Tensor, owner: nn.Module) -> dict[str, Tensor]:
        if weight.ndim == 5:
            return {"weight": weight}
        taps = weight.new_tensor(self.taps(module.kernel_size[0]))  # type: ignore[index, arg-type]
        return {"weight": weight.unsqueeze(2) * taps.view(-1, 1, 1)}

    def taps(self, depth: int) -> list[float]:
        """Return the share of the 2D kernel in each of `depth` slices."""
        if self.fill == "center":
            return [float(tap == depth // 2) for tap in range(depth)]
        return [1 / depth] * depth

    @property
    def depth_padding(self) -> Literal["replicate", "zeros"]:
        return self.pad

    def in_check(self, axis: int) -> To3D | None:
        # along depth its own kernels give the 2D output
        fill = self.fill if self.keeps_weights else "mean"
        return replace(self, fill=fill, pad="replicate") if axis == 0 else None

    def conv(self, conv: nn.Conv2d, site: Site) -> Converted:
        depth = 1 if conv.kernel_size == (1, 1) else self.depth or conv.kernel_size[0]
        pads = (_depth_pads(conv, site, depth), *_plane_pads(conv))
        template = InflatedConv3d(
            in_channels=conv.in_channels,
            out_channels=conv.out_channels,
            kernel_size=(depth, *conv.kernel_size),
            stride=(1 if site.keep else conv.stride[0], *conv.stride),
            dilation=(conv.dilation[0], *conv.dilation),
            groups=conv.groups,
            bias=conv.bias is not None,
            pads=pads,
            pad=self.pad,
            plane_mode=conv.padding_mode,
            device="meta",
            dtype=conv.weight.dtype,
        )
        template.weight = self._kernel(conv, self.taps(depth), site)
        sees_border = self.fill == "mean" and depth > 1
        middle, step = depth // 2, conv.dilation[0]
        spills = pads[0][0] > step * middle or pads[0][1] > step * (depth - 1 - middle)
        exact = self.pad == "replicate" or not (sees_border or spills)
        return Converted(template.plain(), exact and self.keeps_weights, self.keeps_weights)

    def transposed(self, conv: nn.ConvTranspose2d, site: Site) -> Converted:
        """Return the transposed convolution with depth taps; see `To3D.transposed`.

        Raises:
            ConversionError: the taps leave gaps along depth at this stride.
        """
        kernel, stride, _, dilation = along = like_height(conv, site)
        phases = [tap * dilation % stride for tap in range(kernel)]
        if len(set(phases)) < stride:
            raise site.refuse(conv, f"{kernel} taps cannot cover a stride of {stride} along depth")
        replicate = self.pad == "replicate"
        kind = InflatedConvTranspose3d if replicate else nn.ConvTranspose3d
        template = kind(**transposed_arguments(conv, along, site))
        template.weight = self._kernel(conv, _shares(phases, self.fill), site)
        exact = self.keeps_weights and (replicate or kernel == stride)
        return Converted(template, exact, self.keeps_weights)

    def _kernel(
        self, conv: nn.Conv2d | nn.ConvTranspose2d, taps: list[float], site: Site
    ) -> nn.Parameter:
        """Return the 5-D weight; a shared 2D weight gives a shared 3D weight."""
        key = (id(conv.weight), tuple(taps))
        if key not in site.made:
            shares = conv.weight.new_tensor(taps).view(-1, 1, 1)
            weight = conv.weight.detach().unsqueeze(2) * shares
            if not self.keeps_weights:
                nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
            site.made[key] = nn.Parameter(weight, requires_grad=conv.weight.requires_grad)
        return site.made[key]


def _shares(phases: list[int], fill: str) -> list[float]:
    """Return each depth tap's share of the 2D kernel; taps that meet in one output sum to 1."""
    if fill != "center":
        return [1 / phases.count(phase) for phase in phases]
    middle = (len(phases) - 1) / 2
    nearest = [min(_taps(phases, p), key=lambda tap: abs(tap - middle)) for p in set(phases)]
    return [float(tap in nearest) for tap in range(len(phases))]


def _taps(phases: list[int], phase: int) -> list[int]:
    return [tap for tap, other in enumerate(phases) if other == phase]


def _plane_pads(conv: nn.Conv2d) -> tuple[tuple[int, int], tuple[int, int]]:
    if not isinstance(conv.padding, str):
        return (conv.padding[0],) * 2, (conv.padding[1],) * 2
    if conv.padding == "valid":
        return (0, 0), (0, 0)
    height, width = (d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True))
    return (height // 2, height - height // 2), (width // 2, width - width // 2)


def _depth_pads(conv: nn.Conv2d, site: Site, depth: int) -> tuple[int, int]:
    """Return settings with which `depth` taps give the output depth of a 2D-height kernel."""
    reach, step = (depth - 1) // 2, conv.dilation[0]
    if site.keep:
        return (step * reach, step * (depth - 1 - reach))
    (before, after), _ = _plane_pads(conv)
    height = conv.kernel_size[0] - 1
    first = before + step * (reach - height // 2)
    return first, before + after + step * (depth - 1 - height) - first
