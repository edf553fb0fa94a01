"""Turn a 2D network into a 3D one that keeps its weights, a 3D one into a lean one; prove it."""

# the rules register themselves
from lean3d.convert import foreign, meanings, norms, pads, pixels, pools, resize, routed  # noqa: F401
from lean3d.convert.acs import ACS, MeanACS, SoftACS
from lean3d.convert.conversion import Check, Conversion, Row
from lean3d.convert.core import convert
from lean3d.convert.dissect import Dissect
from lean3d.convert.inference import fold
from lean3d.convert.inflate import Inflate
from lean3d.convert.lean import Atoms, ChannelSeparated, ParallelSeparable, SpaceTime, decompose
from lean3d.convert.planar import Planar
from lean3d.convert.unconvert import unconvert
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
