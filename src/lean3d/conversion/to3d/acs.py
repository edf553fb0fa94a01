"""ACS: the kernels of every 2D convolution are split over the three planes of the volume.

Paper: Yang et al., Reinventing 2D Convolutions for 3D Images (ACS), arXiv:1911.10477, Sec 3.2
Differs from the paper: transposed convolutions are split over the views too.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Size, Tensor, nn

from lean3d.conversion.methods import register_method
from lean3d.conversion.to3d.base import Converted, Site, To3D
from lean3d.conversion.to3d.geometry import conv_arguments, like_height, transposed_arguments
from lean3d.errors import ConversionError
from lean3d.ops import ACSConv3d, MeanACSConv3d, PlanarConv3d, SoftACSConv3d
from lean3d.ops.transposed import (
    ACSConvTranspose3d,
    MeanACSConvTranspose3d,
    PlanarConvTranspose3d,
    SoftACSConvTranspose3d,
)
from lean3d.shape import Triple

__all__ = ["ACS", "MeanACS", "SoftACS"]


@dataclass(frozen=True)
class Views(To3D):
    """A method that places each kernel on the axial, coronal and sagittal planes."""

    enlarging: ClassVar[type[nn.Module]]  # the transposed operator

    def conv(self, conv: nn.Conv2d, site: Site) -> Converted:
        depth = like_height(conv, site)
        arguments = conv_arguments(conv, depth)
        if depth[0] != conv.kernel_size[0] or conv.kernel_size == (1, 1):
            return Converted(PlanarConv3d(**arguments))  # one voxel deep: all its views are equal
        return Converted(self.prepared(self.operator(arguments), conv), exact=False)

    def transposed(self, conv: nn.ConvTranspose2d, site: Site) -> Converted:
        depth = like_height(conv, site)
        arguments = transposed_arguments(conv, depth, site)
        if depth[0] != conv.kernel_size[0]:
            return Converted(PlanarConvTranspose3d(**arguments))
        operator = self.enlarging(**arguments, **self.options(conv.out_channels))
        return Converted(self.prepared(operator, conv), exact=False)

    @abstractmethod
    def operator(self, arguments: Mapping[str, Any]) -> nn.Module: ...

    def options(self, out_channels: int) -> dict[str, Any]:
        """Return the arguments of its operators beyond those of torch's."""
        return {}

    def prepared(self, operator: nn.Module, conv: nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
        """Return the operator with values for parameters that the 2D one does not have."""
        return operator


@register_method("acs", "a third of the outputs on each view")
@dataclass(frozen=True)
class ACS(Views):
    """Split the outputs of every 2D kernel over the three planes.

    Args:
        split: Shares of the outputs for the axial, coronal and sagittal plane, such as (8, 1, 1);
            None for thirds.
    """

    split: Triple | None = None
    enlarging = ACSConvTranspose3d

    def __post_init__(self) -> None:
        if isinstance(self.split, Sequence) and not isinstance(self.split, str):
            object.__setattr__(self, "split", tuple(self.split))
        super().__post_init__()
        if self.split is None:
            return
        if min(self.split) < 0 or sum(self.split) <= 0:
            raise ConversionError(f"ACS: split gives three shares, not all zero, got {self.split}")

    def operator(self, arguments: Mapping[str, Any]) -> nn.Module:
        return ACSConv3d(**arguments, **self.options(arguments["out_channels"]))

    def options(self, out_channels: int) -> dict[str, Any]:
        return {"split": None if self.split is None else share_out(out_channels, self.split)}


@register_method("mean_acs", "the mean of its three views")
@dataclass(frozen=True)
class MeanACS(Views):
    """Use the mean of each 2D kernel's three planes."""

    enlarging = MeanACSConvTranspose3d

    def operator(self, arguments: Mapping[str, Any]) -> nn.Module:
        return MeanACSConv3d(**arguments)


@register_method("soft_acs", "a learnt mixture of its three views")
@dataclass(frozen=True)
class SoftACS(Views):
    """Use a learnt softmax-weighted sum of each 2D kernel's three planes, initially equal."""

    keeps_kernels: ClassVar[bool] = False
    enlarging = SoftACSConvTranspose3d

    def operator(self, arguments: Mapping[str, Any]) -> nn.Module:
        return SoftACSConv3d(**arguments)

    def prepared(self, operator: nn.Module, conv: nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
        zeros = conv.weight.detach().new_zeros(conv.out_channels, 3)
        operator.views = nn.Parameter(zeros, requires_grad=conv.weight.requires_grad)
        return operator

    def weights(self, module: nn.Module, weight: Tensor, owner: nn.Module) -> dict[str, Tensor]:
        if "views" not in module._parameters:
            return {"weight": weight}
        own = owner._parameters.get("views")
        return {"weight": weight, "views": weight.new_zeros(len(weight), 3) if own is None else own}

    def loses(self, module: nn.Module, parameter: Tensor, size: Size | None) -> bool:
        # the softmax of equal columns gives each view a third
        return size is None and bool((parameter - parameter[:, :1]).abs().max() > 0)


def share_out(channels: int, shares: Triple) -> Triple:
    """Integers in proportion to `shares` that sum to `channels`, by largest remainder."""
    exact = [channels * share / sum(shares) for share in shares]
    counts = [int(value) for value in exact]
    order = sorted(range(3), key=lambda view: counts[view] - exact[view])
    for view in order[: channels - sum(counts)]:
        counts[view] += 1
    return (counts[0], counts[1], counts[2])
