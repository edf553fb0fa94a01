"""torchvision beside a CPU-only torch: `make install` puts it where nothing else finds it."""

import sys
from pathlib import Path
from types import ModuleType

from lean3d.optional import require

__all__ = ["torchvision"]


def torchvision() -> ModuleType:
    """The package, from wherever it is installed.

    Raises:
        MissingExtraError: it is not.
    """
    sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
    require("zoo", extra="zoo")
    return require("torchvision", extra="zoo")
