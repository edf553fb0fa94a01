"""Turn any 2D or 3D CNN into a lean, native 3D network."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
        PlaneCycle,
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
    from lean3d.lightening import Lightening, lighten
    from lean3d.models import create_model, list_models
    from lean3d.runtime import optimize
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
    "Lightening",
    "Loaded",
    "MeanACS",
    "MissingExtraError",
    "ParallelSeparable",
    "Planar",
    "PlaneCycle",
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
    "lighten",
    "list_models",
    "load_checkpoint",
    "ops",
    "optimize",
    "stream",
    "unconvert",
]

_PARTS = (
    *("ops", "checkpoints", "conversion", "cost", "errors", "lightening", "models", "runtime"),
    "streaming",
)


def __getattr__(name: str) -> Any:
    """Import everything public at its first use: help and --version do not wait for torch."""
    if name in __all__:
        for part in map(_module, _PARTS):
            globals().update({own: getattr(part, own) for own in __all__ if own in part.__all__})
        return globals()[name]
    if not name.startswith("_"):
        try:
            return _module(name)
        except ModuleNotFoundError as error:
            if error.name != f"lean3d.{name}":
                raise
    raise AttributeError(f"module 'lean3d' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _module(part: str) -> Any:
    return import_module(f"lean3d.{part}")
