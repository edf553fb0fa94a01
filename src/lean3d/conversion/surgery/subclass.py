"""Add a base in front of a module's own class, without changing the class or its name."""

from collections.abc import Callable
from functools import cache, wraps
from typing import Any, SupportsIndex, TypeAlias

from torch import nn
from torch.fx import GraphModule

from lean3d.conversion.surgery.fx import Graph

__all__ = ["Mixed", "mixed", "own_class"]

Forward: TypeAlias = Callable[..., Any]


class Mixed:
    """A base that runs before a module's own class, which is the last base.

    Copies and pickles use the own class's methods, if it defines any, and keep the added base.
    """

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        reduced: Any = super().__reduce_ex__(protocol)
        make, arguments, *rest = reduced
        *kinds, kind = type(self).__bases__
        arguments = tuple(kind if value is type(self) else value for value in arguments)
        return revive, (tuple(kinds), make, arguments), *rest


def own_class(module: nn.Module) -> type[nn.Module]:
    """Return the class of a module without the bases added in front."""
    return type(module).__bases__[-1] if isinstance(module, Mixed) else type(module)


def mixed(*kinds: type) -> Any:
    """Return a class with the last kind's name and the code of all kinds."""
    *front, own = kinds
    if issubclass(own, Mixed):  # its own class is the last of its bases
        kinds = (*front, *own.__bases__)
    if issubclass(kinds[-1], GraphModule):  # this class belongs to one module
        return _mixed(*kinds) if Graph in kinds else _mixed(Graph, *kinds)
    return _mixed_once(*kinds)


def _mixed(*kinds: type) -> Any:
    kind: Any = kinds[-1]
    names: Any = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    code = next((vars(each)["forward"] for each in kinds[:-1] if "forward" in vars(each)), None)
    if code is not None:
        names["forward"] = _with_signature_of(kind.forward, code)
    return type(kind.__name__, kinds, names)


def _with_signature_of(own: Forward, code: Forward) -> Forward:
    """Return `code` with the signature of the class's own forward, which exporters inspect."""

    @wraps(own)
    def forward(self: object, *args: object, **kwargs: object) -> object:
        return code(self, *args, **kwargs)

    return forward


_mixed_once = cache(_mixed)


def revive(kinds: tuple[type, ...], make: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Build a module by its own class, with the other kinds in front."""
    module = make(*arguments)
    module.__class__ = mixed(*kinds, type(module))
    return module
