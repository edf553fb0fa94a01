"""Drop-in replacements of nn.Conv3d: its arguments, its output sizes, a leaner kernel."""

from lean3d.ops.acs import ACSConv3d
from lean3d.ops.atoms import AtomConv3d
from lean3d.ops.causal import CausalConv3d
from lean3d.ops.channel import ChannelSeparatedConv3d
from lean3d.ops.parallel import ParallelSeparableConv3d
from lean3d.ops.planar import PlanarConv3d
from lean3d.ops.soft_acs import MeanACSConv3d, SoftACSConv3d
from lean3d.ops.space_time import SpaceTimeConv3d

__all__ = [
    "ACSConv3d",
    "AtomConv3d",
    "CausalConv3d",
    "ChannelSeparatedConv3d",
    "MeanACSConv3d",
    "ParallelSeparableConv3d",
    "PlanarConv3d",
    "SoftACSConv3d",
    "SpaceTimeConv3d",
]
