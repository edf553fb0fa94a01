"""Every variant of every operator, for the tests that hold them all to one law."""

from functools import partial

import torch

from lean3d.ops import (
    ACSConv3d,
    AtomConv3d,
    CausalConv3d,
    ChannelSeparatedConv3d,
    MeanACSConv3d,
    ParallelSeparableConv3d,
    PlanarConv3d,
    SoftACSConv3d,
    SpaceTimeConv3d,
)
from lean3d.ops.dense import DenseConv3d
from lean3d.ops.transposed import (
    ACSConvTranspose3d,
    MeanACSConvTranspose3d,
    PlanarConvTranspose3d,
    SoftACSConvTranspose3d,
)

VARIANTS = {
    "acs": ACSConv3d,
    "acs_dense": partial(ACSConv3d, path="dense"),
    "acs_views": partial(ACSConv3d, path="views"),
    "mean_acs": MeanACSConv3d,
    "soft_acs": SoftACSConv3d,
    "planar_0": PlanarConv3d,
    "planar_1": partial(PlanarConv3d, axis=1),
    "planar_2": partial(PlanarConv3d, axis=2),
    "p1sc1": ParallelSeparableConv3d,
    "p2sc2": partial(ParallelSeparableConv3d, streams=2, depth=2, filters=4),
    "p2sc2_norm": partial(ParallelSeparableConv3d, streams=2, depth=2, filters=4, norm=True),
    "p3sc1_linear": partial(ParallelSeparableConv3d, streams=3, relu=False),
    "p2sc1_sum": partial(ParallelSeparableConv3d, streams=2, relu=False, join="sum"),
    "ip": ChannelSeparatedConv3d,
    "ip_pairs": partial(ChannelSeparatedConv3d, group_width=2),
    "ir": partial(ChannelSeparatedConv3d, mode="ir"),
    "2plus1d": SpaceTimeConv3d,
    "rank1": partial(SpaceTimeConv3d, form="rank1"),
    "atoms": partial(AtomConv3d, spatial=3),
    "atoms_stages": partial(AtomConv3d, spatial=3, path="stages"),
    "atoms_coefficients": partial(AtomConv3d, spatial=3, path="coefficients"),
    "causal": CausalConv3d,
    "causal_zeros": partial(CausalConv3d, first="zeros"),
    "dense": DenseConv3d,
}
TRANSPOSED = {
    "acs_transposed": ACSConvTranspose3d,
    "mean_acs_transposed": MeanACSConvTranspose3d,
    "soft_acs_transposed": SoftACSConvTranspose3d,
    "planar_0_transposed": PlanarConvTranspose3d,
    "planar_1_transposed": partial(PlanarConvTranspose3d, axis=1),
    "planar_2_transposed": partial(PlanarConvTranspose3d, axis=2),
}


def build(variant, channels=(4, 8), **arguments):
    """The variant with telling weights: no bias is left zero, no view equal to another."""
    torch.manual_seed(0)
    op = (VARIANTS | TRANSPOSED)[variant](*channels, **arguments)
    with torch.no_grad():
        for parameter in op.parameters():
            if parameter.ndim < 3 and parameter.device.type != "meta":
                parameter.copy_(torch.randn_like(parameter))
    return op


def volume(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
