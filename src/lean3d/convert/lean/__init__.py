"""Make 3D convolutions lean, fitted to the kernels they replace."""

from lean3d.convert.lean.atoms import Atoms
from lean3d.convert.lean.channel import ChannelSeparated
from lean3d.convert.lean.decompose import decompose
from lean3d.convert.lean.parallel import ParallelSeparable
from lean3d.convert.lean.space_time import SpaceTime

__all__ = ["Atoms", "ChannelSeparated", "ParallelSeparable", "SpaceTime", "decompose"]
