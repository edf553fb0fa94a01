"""ACS: the kernels of every 2D convolution are split over the three planes of the volume.

Paper: Yang et al., Reinventing 2D Convolutions for 3D Images (ACS), arXiv:1911.10477, Sec 3.2
Differs from the paper: transposed convolutions are split over the views too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lean3d.conversion.to3d.base import Lift, Lifted, Site
from lean3d.conversion.to3d.geometry import conv_arguments, like_height, transposed_arguments
from lean3d.conversion.to3d.rules.registry import rule
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


class Views(Lift):
    """A conversion that places each kernel on the axial, coronal and sagittal planes."""


@dataclass(frozen=True)
class ACS(Views):
    """Split the outputs of every 2D kernel over the three planes.

    Args:
        split: Shares of the outputs for the axial, coronal and sagittal plane, such as (8, 1, 1);
            None for thirds.
    """

    split: Triple | None = None

    def __post_init__(self) -> None:
        if isinstance(self.split, Sequence) and not isinstance(self.split, str):
            object.__setattr__(self, "split", tuple(self.split))
        super().__post_init__()
        if self.split is None:
            return
        if min(self.split) < 0 or sum(self.split) <= 0:
            raise ConversionError(f"ACS: split gives three shares, not all zero, got {self.split}")


@dataclass(frozen=True)
class MeanACS(Views):
    """Use the mean of each 2D kernel's three planes."""


@dataclass(frozen=True)
class SoftACS(Views):
    """Use a learnt softmax-weighted sum of each 2D kernel's three planes, initially equal."""

    def weights(self, module: nn.Module, weight: Tensor, owner: nn.Module) -> dict[str, Tensor]:
        if "views" not in module._parameters:
            return {"weight": weight}
        own = owner._parameters.get("views")
        return {"weight": weight, "views": weight.new_zeros(len(weight), 3) if own is None else own}


CONV: dict[type, Callable[..., nn.Module]] = {
    ACS: ACSConv3d,
    MeanACS: MeanACSConv3d,
    SoftACS: SoftACSConv3d,
}
TRANSPOSED: dict[type, Callable[..., nn.Module]] = {
    ACS: ACSConvTranspose3d,
    MeanACS: MeanACSConvTranspose3d,
    SoftACS: SoftACSConvTranspose3d,
}


@rule(Views, nn.Conv2d)
def views_conv(conv: nn.Conv2d, site: Site) -> Lifted:
    depth = like_height(conv, site)
    arguments = conv_arguments(conv, depth)
    if depth[0] != conv.kernel_size[0] or conv.kernel_size == (1, 1):
        return Lifted(PlanarConv3d(**arguments))  # one voxel deep: all its views are equal
    return Lifted(_build(CONV, conv, arguments, site), exact=False)


@rule(Views, nn.ConvTranspose2d)
def views_transposed(conv: nn.ConvTranspose2d, site: Site) -> Lifted:
    depth = like_height(conv, site)
    arguments = transposed_arguments(conv, depth, site)
    if depth[0] != conv.kernel_size[0]:
        return Lifted(PlanarConvTranspose3d(**arguments))
    return Lifted(_build(TRANSPOSED, conv, arguments, site), exact=False)


def _build(
    table: dict[type, Callable[..., nn.Module]],
    conv: nn.Conv2d | nn.ConvTranspose2d,
    arguments: dict[str, Any],
    site: Site,
) -> nn.Module:
    how = site.how
    if isinstance(how, ACS):
        split = None if how.split is None else share_out(conv.out_channels, how.split)
        return table[ACS](**arguments, split=split)
    operator = table[type(how)](**arguments)
    if isinstance(how, SoftACS):
        zeros = conv.weight.detach().new_zeros(conv.out_channels, 3)
        operator.views = nn.Parameter(zeros, requires_grad=conv.weight.requires_grad)
    return operator


def share_out(channels: int, shares: Triple) -> Triple:
    """Integers in proportion to `shares` that sum to `channels`, by largest remainder."""
    exact = [channels * share / sum(shares) for share in shares]
    counts = [int(value) for value in exact]
    order = sorted(range(3), key=lambda view: counts[view] - exact[view])
    for view in order[: channels - sum(counts)]:
        counts[view] += 1
    return (counts[0], counts[1], counts[2])
