"""2.5D: every 2D kernel lies on one plane of the volume.

Paper: the 2.5D baseline of Yang et al. (ACS), arXiv:1911.10477, Sec 3.3. Strides and pools act on
all three axes there, so depth shrinks as height does; `keep_depth` changes that.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from lean3d.conversion.methods import register_method
from lean3d.conversion.to3d.base import Converted, Site, To3D
from lean3d.conversion.to3d.geometry import conv_arguments, like_height, transposed_arguments
from lean3d.errors import ConversionError
from lean3d.ops import PlanarConv3d
from lean3d.ops.transposed import PlanarConvTranspose3d

__all__ = ["Planar"]


@register_method("planar", "the same kernel on one plane")
@dataclass(frozen=True)
class Planar(To3D):
    """Place every 2D kernel on one plane; pools and strides act on depth as on height.

    Args:
        axis: The axis the kernels do not extend along: 0 depth, 1 height, 2 width.
    """

    axis: int = 0
    planar_is_enough: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.axis not in (0, 1, 2):
            raise ConversionError(
                f"Planar: axis is 0 depth, 1 height or 2 width, got {self.axis!r}"
            )

    @property
    def plane_axis(self) -> int:
        return self.axis

    def conv(self, conv: nn.Conv2d, site: Site) -> Converted:
        depth = like_height(conv, site)
        self._check_plane(conv, site, depth[0])
        operator = self.operator(conv_arguments(conv, depth))
        return Converted(operator, exact=self.axis == 0 or max(conv.kernel_size) == 1)

    def transposed(self, conv: nn.ConvTranspose2d, site: Site) -> Converted:
        depth = like_height(conv, site)
        self._check_plane(conv, site, depth[0])
        arguments = transposed_arguments(conv, depth, site)
        return Converted(PlanarConvTranspose3d(**arguments, axis=self.axis), exact=self.axis == 0)

    def operator(self, arguments: Mapping[str, Any]) -> nn.Module:
        return PlanarConv3d(**arguments, axis=self.axis)

    def _check_plane(self, conv: nn.Conv2d | nn.ConvTranspose2d, site: Site, kernel: int) -> None:
        if self.axis != 0 and kernel != conv.kernel_size[0]:
            raise site.refuse(
                conv, f"depth cannot be kept by a kernel along it; axis={self.axis} needs one"
            )
        settings = (conv.kernel_size, conv.stride, conv.padding, conv.dilation)
        if self.axis == 2 and any(not isinstance(s, str) and s[0] != s[1] for s in settings):
            raise site.refuse(
                conv, "it is not square, and Planar(axis=2) lays its width along height"
            )
