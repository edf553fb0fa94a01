"""Convert 2D networks to 3D with their weights and 3D ones to lean ones, with a self-check."""

# the rules register themselves
from lean3d.conversion.api import convert
from lean3d.conversion.causal import Dissect
from lean3d.conversion.fuse import fold
from lean3d.conversion.lean import Atoms, ChannelSeparated, ParallelSeparable, SpaceTime, decompose
from lean3d.conversion.record import Check, Conversion, Row
from lean3d.conversion.to3d.acs import ACS, MeanACS, SoftACS
from lean3d.conversion.to3d.inflate import Inflate
from lean3d.conversion.to3d.planar import Planar
from lean3d.conversion.to3d.rules import (  # noqa: F401
    cond_conv,
    functions,
    norm,
    pad,
    pixel_shuffle,
    pool,
    resize,
    zoo,
)
from lean3d.conversion.to3d.undo import unconvert
from lean3d.errors import ConversionError

__all__ = [
    "ACS",
    "Atoms",
    "ChannelSeparated",
    "Check",
    "Conversion",
    "ConversionError",
    "Dissect",
    "Inflate",
    "MeanACS",
    "ParallelSeparable",
    "Planar",
    "Row",
    "SoftACS",
    "SpaceTime",
    "convert",
    "decompose",
    "fold",
    "unconvert",
]
