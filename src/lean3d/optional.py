"""Import packages that only some features need, where they are used."""

import importlib
import importlib.util
from types import ModuleType

from lean3d.errors import MissingExtraError

__all__ = ["expect", "require"]


def require(name: str, *, extra: str) -> ModuleType:
    """Import an optional package, or raise an error with the name of its extra.

    Raises:
        MissingExtraError: the package is absent or cannot be imported; the message says which.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        absent = isinstance(error, ModuleNotFoundError) and error.name == name.partition(".")[0]
        what = "is not installed" if absent else f"is installed but cannot be imported ({error})"
        raise MissingExtraError(
            f"{name} is needed for this and {what}; run: pip install 'lean3d[{extra}]'"
        ) from error


def expect(name: str, *, extra: str) -> None:
    """Raise `require`'s error if a package is absent; it is not imported, which may take seconds.

    Raises:
        MissingExtraError: the package is absent.
    """
    try:
        found = importlib.util.find_spec(name)
    except ValueError:  # a module without a place
        found = None
    if found is None:
        require(name, extra=extra)
