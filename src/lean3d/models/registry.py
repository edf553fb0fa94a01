"""Model names and their factories."""

import difflib
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import TypeVar

from torch import nn

from lean3d.errors import RunError

__all__ = ["create_model", "list_models", "register_model"]

Factory = TypeVar("Factory", bound=Callable[..., nn.Module])
_MODELS: dict[str, Callable[..., nn.Module]] = {}


def register_model(factory: Factory) -> Factory:
    """Make a factory reachable by its function name."""
    name = factory.__name__
    if name in _MODELS:
        raise ValueError(f"model {name!r} is registered twice")
    _MODELS[name] = factory
    return factory


def list_models(pattern: str = "*") -> list[str]:
    """Names of the registered models that match a shell pattern such as "unet*"."""
    return sorted(name for name in _MODELS if fnmatchcase(name, pattern))


def create_model(name: str, **kwargs) -> nn.Module:
    """Build a registered model; keyword arguments go to its factory.

    Raises:
        RunError: no model has that name; the message gives the nearest.
    """
    if name not in _MODELS:
        near = difflib.get_close_matches(name, _MODELS, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else "list_models() gives all names"
        raise RunError(f"no model called {name!r}; {hint}")
    return _MODELS[name](**kwargs)
