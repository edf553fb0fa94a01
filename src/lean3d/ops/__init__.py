"""Drop-in replacements of nn.Conv3d; pools, heads and past frames for streams."""

from lean3d.ops.acs import ACSConv3d
from lean3d.ops.atoms import AtomConv3d
from lean3d.ops.causal import CausalConv3d
from lean3d.ops.causal_pools import (
    CausalAvgPool3d,
    CausalMaxPool3d,
    LastFrames,
    MeanSoFar,
    Past,
    RunningMean,
    WithPrevious,
)
from lean3d.ops.channel import ChannelSeparatedConv3d
from lean3d.ops.fast_gradients import with_fast_gradients_
from lean3d.ops.heads import EmbeddingHead, MeanHead, RecurrentHead, WindowHead
from lean3d.ops.memory import carry, past
from lean3d.ops.parallel import ParallelSeparableConv3d
from lean3d.ops.planar import PlanarConv3d
from lean3d.ops.soft_acs import MeanACSConv3d, SoftACSConv3d
from lean3d.ops.space_time import SpaceTimeConv3d
from lean3d.ops.transposed import (
    ACSConvTranspose3d,
    MeanACSConvTranspose3d,
    PlanarConvTranspose3d,
    SoftACSConvTranspose3d,
)

__all__ = [
    "ACSConv3d",
    "ACSConvTranspose3d",
    "AtomConv3d",
    "CausalAvgPool3d",
    "CausalConv3d",
    "CausalMaxPool3d",
    "ChannelSeparatedConv3d",
    "EmbeddingHead",
    "LastFrames",
    "MeanACSConv3d",
    "MeanACSConvTranspose3d",
    "MeanHead",
    "MeanSoFar",
    "ParallelSeparableConv3d",
    "Past",
    "PlanarConv3d",
    "PlanarConvTranspose3d",
    "RecurrentHead",
    "RunningMean",
    "SoftACSConv3d",
    "SoftACSConvTranspose3d",
    "SpaceTimeConv3d",
    "WindowHead",
    "WithPrevious",
    "carry",
    "past",
    "with_fast_gradients_",
]
