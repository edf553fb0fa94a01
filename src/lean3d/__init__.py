"""Turn any 2D or 3D CNN into a lean, native 3D network."""

from lean3d import ops
from lean3d.checkpoints import Loaded, load_checkpoint
from lean3d.conversion import (
    ACS,
    Atoms,
    ChannelSeparated,
    Conversion,
    Dissect,
    Inflate,
    MeanACS,
    ParallelSeparable,
    Planar,
    SoftACS,
    SpaceTime,
    convert,
    decompose,
    fold,
    unconvert,
)
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
from lean3d.streaming import Stream, export_step, stream

__version__ = "0.1.0"

__all__ = [
    "ACS",
    "Atoms",
    "ChannelSeparated",
    "Conversion",
    "ConversionError",
    "Cost",
    "DataError",
    "Dissect",
    "Inflate",
    "LeanError",
    "Loaded",
    "MeanACS",
    "MissingExtraError",
    "ParallelSeparable",
    "Planar",
    "RunError",
    "ShapeError",
    "SoftACS",
    "SpaceTime",
    "Stream",
    "__version__",
    "convert",
    "count",
    "create_model",
    "decompose",
    "export_step",
    "fold",
    "list_models",
    "load_checkpoint",
    "ops",
    "stream",
    "unconvert",
]
