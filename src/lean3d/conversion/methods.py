"""The methods of conversion by the names that recipes and the command line use."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from lean3d.conversion.to3d.base import To3D
from lean3d.plugins import Registry
from lean3d.typed import shortened

__all__ = ["METHODS", "Method", "named", "names_of", "register_method", "table"]

Kind = TypeVar("Kind", bound=type)


@dataclass(frozen=True)
class Method:
    """A name of a method.

    Args:
        what: What it makes of a kernel, in one line.
        fixed: The arguments that the name fixes.
    """

    name: str
    what: str
    kind: type
    fixed: Mapping[str, Any]

    def build(self) -> Any:
        return self.kind(**self.fixed)


METHODS: Registry[Method] = Registry(
    "conversion", "lean3d.conversion.to3d", "lean3d.conversion.lean", "lean3d.conversion.causal"
)


def register_method(
    names: str | Mapping[str, Mapping[str, Any]], what: str
) -> Callable[[Kind], Kind]:
    """Decorate a method of conversion: recipes and `--how` of the command line find it by name.

    The method is a frozen dataclass whose fields have defaults, and extends `To3D` (2D to 3D) or
    `Lean` (3D to lean). It may be in another package, see `lean3d.plugins`.

    Args:
        names: Its name, or several with the arguments that each of them fixes.
        what: What it makes of a kernel, in one line.
    """

    def register(kind: Kind) -> Kind:
        for name, fixed in {names: {}}.items() if isinstance(names, str) else names.items():
            METHODS.add(name, Method(name, what, kind, fixed))
        return kind

    return register


def table() -> list[dict[str, str]]:
    """Return a row for every name: its method, and what that makes of a kernel."""
    rows = sorted(METHODS.values(), key=lambda method: (method.kind.__module__, method.name))
    rows.sort(key=lambda method: not issubclass(method.kind, To3D))
    return [{"--how": m.name, "method": _shown(m), "a kernel becomes": m.what} for m in rows]


def _shown(method: Method) -> str:
    return str(method.build()).replace("keep_depth=0, ", "").replace("keep_depth=0", "")


def names_of(*families: type) -> str:
    """Return the methods of some families in words, as calls."""
    kinds = {method.kind for method in METHODS.values() if issubclass(method.kind, families)}
    *calls, last = sorted(f"{kind.__name__}()" for kind in kinds)
    return f"{', '.join(calls)} or {last}" if calls else last


def named(how: object) -> str:
    """Return what was given in place of a method."""
    return how.__name__ if isinstance(how, type) else shortened(how)
