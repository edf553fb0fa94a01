"""Model names, their factories, and one line about each."""

import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from numbers import Integral, Real
from typing import Any, TypeVar

from torch import nn

from lean3d.errors import RunError
from lean3d.typed import check_kind, shortened

__all__ = ["ModelEntry", "create_model", "find_model", "list_models", "register_models"]

# channels, classes or layers, more than any network has
MOST, MOST_STAGES = 1_000_000, 100

Factory = TypeVar("Factory", bound=Callable[..., nn.Module])


@dataclass(frozen=True)
class ModelEntry:
    """The registry's entry of a name.

    Args:
        what: One line, without the source.
        source: Paper and section, table or equation.
        input_shape: The paper's input, including a batch of one.
        fixed: The factory arguments that the name fixes.
    """

    name: str
    what: str
    source: str
    input_shape: tuple[int, ...]
    factory: Callable[..., nn.Module]
    fixed: Mapping[str, Any]

    @property
    def takes(self) -> dict[str, Any]:
        """The remaining arguments, with their defaults."""
        given = inspect.signature(self.factory).parameters.values()
        return {p.name: p.default for p in given if p.name not in self.fixed}

    def build(self, **kwargs: Any) -> nn.Module:
        """Build the network; raises RunError for an argument or a value it does not accept."""
        for key, value in kwargs.items():
            if key not in self.takes:
                near = _near(key, self.takes, "it takes")
                raise RunError(f"{self.name} does not take {key}{near}")
            if wanted := _unlike(value, self.takes[key]):
                raise RunError(f"{self.name}: {key} is {wanted}, got {value!r}")
        try:
            return self.factory(**self.fixed, **kwargs)
        except (TypeError, AttributeError) as error:
            if kwargs.get("conv") is None:
                raise
            raise RunError(
                f"{self.name}: conv is called like nn.Conv3d and returns a module, got "
                f"{shortened(kwargs['conv'])} ({error})"
            ) from error


_MODELS: dict[str, ModelEntry] = {}


def register_models(
    names: Mapping[str, Mapping[str, Any]],
    what: str,
    source: str,
    input_shape: tuple[int, ...],
) -> Callable[[Factory], Factory]:
    """Make a factory reachable under several names, each with its own fixed arguments.

    All arguments of a factory are keywords with defaults, except those that all its names fix.

    Args:
        what: One line; fields in braces are filled with the fixed arguments.
    """

    def register(factory: Factory) -> Factory:
        for name, fixed in names.items():
            if name in _MODELS:
                raise ValueError(f"model {name!r} is registered twice")
            line = what.format(**fixed)
            _MODELS[name] = ModelEntry(name, line, source, input_shape, factory, fixed)
        return factory

    return register


def list_models(pattern: str = "*") -> list[str]:
    """Names of the registered models that match a shell pattern such as "unet*"."""
    check_kind("list_models", pattern, str, "a pattern of names such as 'unet*'")
    return sorted(name for name in _MODELS if fnmatchcase(name, pattern))


def find_model(name: str) -> ModelEntry:
    """Return the entry of a registered model.

    Raises:
        RunError: no model has that name; the message gives the nearest.
    """
    check_kind("create_model", name, str, "the name of a model such as 'unet3d'")
    if name not in _MODELS:
        raise RunError(f"no model called {name!r}{_near(name, _MODELS)}")
    return _MODELS[name]


def create_model(name: str, **kwargs) -> nn.Module:
    """Build a registered model; keyword arguments go to its factory.

    Every model takes `in_channels`, `num_classes` and `conv`, the operator that replaces nn.Conv3d
    for every kernel whose largest size is 3. A first kernel of 7, a ResNet's stem, stays plain,
    as in the papers; `lean3d.convert` replaces it too.

    Raises:
        RunError: no model has that name, or it does not take one of the arguments; the message
            gives the nearest.
    """
    return find_model(name).build(**kwargs)


def _unlike(value: Any, default: Any) -> str:
    """Return the expected type if a value is not of the type of the default; else an empty text."""
    truth = isinstance(value, bool)
    if isinstance(default, bool):
        return "" if truth else "True or False"
    if isinstance(default, int):
        return "" if _is_size(value) else f"a whole number from 1 to {MOST:,}"
    if isinstance(default, tuple) and default and all(map(_is_size, default)):
        few = isinstance(value, Sequence) and 1 <= len(value) <= MOST_STAGES
        words = f"1 to {MOST_STAGES} whole numbers from 1 to {MOST:,}"
        return "" if few and all(map(_is_size, value)) else words
    if isinstance(default, float):
        number = float(value) if isinstance(value, Real) and not truth else -1.0
        fits = 0 < number < math.inf or (number == 0 and not default)
        return "" if fits else f"a number {'above 0' if default else 'of 0 or more'}"
    return ""


def _is_size(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and 1 <= int(value) <= MOST


def _near(name: str, known: Iterable[str], otherwise: str = "") -> str:
    near = difflib.get_close_matches(name, known, n=3)
    if near:
        return f"; did you mean {', '.join(near)}?"
    return f"; {otherwise} {', '.join(known)}" if otherwise else "; list_models() gives all names"
