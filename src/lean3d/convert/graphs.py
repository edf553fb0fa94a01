"""Fold a torch.fx GraphModule, as torchvision's create_feature_extractor makes them.

torch.fx writes a class for every GraphModule, anew whenever its graph is set or it is copied; the
class that folds it stands aside meanwhile.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.fx import GraphModule

__all__ = ["Graph", "forget_in_copies", "keep_with_copies"]

PRESERVED = "_user_preserved_attributes"


class Graph:
    """Comes before the class torch.fx wrote, which is the last base."""

    def recompile(self) -> Any:
        with _aside(self):
            return self.recompile()

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        with _aside(self):
            result = copy.deepcopy(self, memo)
        vars(result)["_folding"] = vars(self).get("_folding")
        return _once_more(type(self).__bases__[:-1], result)

    def __reduce_ex__(self, protocol: Any) -> Any:
        bases = type(self).__bases__[:-1]
        with _aside(self):
            make, arguments, *_ = self.__reduce_ex__(protocol)
        return _made_once_more, (bases, make, arguments)


@contextmanager
def _aside(module: Any) -> Iterator[None]:
    mixed = type(module)
    module.__class__ = mixed.__bases__[-1]
    try:
        yield
    finally:
        module.__class__ = mixed


def _once_more(bases: tuple[type, ...], module: Any) -> Any:
    module.__class__ = type(type(module).__name__, (*bases, type(module)), {})
    return module


def _made_once_more(bases: tuple[type, ...], make: Any, arguments: Any) -> Any:
    return _once_more(bases, make(*arguments))


def keep_with_copies(module: nn.Module, name: str) -> None:
    """Let copies of a GraphModule keep an attribute, as those of other modules do."""
    if isinstance(module, GraphModule):
        module.meta.setdefault(PRESERVED, {})[name] = getattr(module, name)


def forget_in_copies(module: nn.Module, name: str) -> None:
    """Undo `keep_with_copies`."""
    if isinstance(module, GraphModule):
        module.meta.get(PRESERVED, {}).pop(name, None)
