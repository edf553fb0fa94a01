"""Turn a 2D network into a 3D one that keeps its weights, and prove it."""

# the rules register themselves
from lean3d.convert import foreign, meanings, norms, pads, pixels, pools, resize, routed  # noqa: F401
from lean3d.convert.acs import ACS, MeanACS, SoftACS
from lean3d.convert.conversion import Check, Conversion, Row
from lean3d.convert.core import convert
from lean3d.convert.inflate import Inflate
from lean3d.convert.planar import Planar
from lean3d.errors import ConversionError

__all__ = [
    "ACS",
    "Check",
    "Conversion",
    "ConversionError",
    "Inflate",
    "MeanACS",
    "Planar",
    "Row",
    "SoftACS",
    "convert",
]
