"""Turn any 2D or 3D CNN into a lean, native 3D network."""

from lean3d import ops
from lean3d.convert import ACS, Conversion, Inflate, MeanACS, Planar, SoftACS, convert
from lean3d.cost import Cost, count
from lean3d.errors import (
    ConversionError,
    DataError,
    LeanError,
    MissingExtraError,
    RunError,
    ShapeError,
)
from lean3d.models import create_model, list_models
from lean3d.stream import Stream, stream

__version__ = "0.1.0"

__all__ = [
    "ACS",
    "Conversion",
    "ConversionError",
    "Cost",
    "DataError",
    "Inflate",
    "LeanError",
    "MeanACS",
    "MissingExtraError",
    "Planar",
    "RunError",
    "ShapeError",
    "SoftACS",
    "Stream",
    "__version__",
    "convert",
    "count",
    "create_model",
    "list_models",
    "ops",
    "stream",
]
