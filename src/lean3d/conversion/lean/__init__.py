"""Make 3D convolutions lean, fitted to the kernels they replace."""

from lean3d.conversion.lean.atoms import Atoms
from lean3d.conversion.lean.channel import ChannelSeparated
from lean3d.conversion.lean.fit import decompose
from lean3d.conversion.lean.parallel import ParallelSeparable
from lean3d.conversion.lean.space_time import SpaceTime

__all__ = ["Atoms", "ChannelSeparated", "ParallelSeparable", "SpaceTime", "decompose"]
