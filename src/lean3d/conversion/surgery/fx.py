"""GraphModules of torch.fx, as torchvision's create_feature_extractor makes them.

torch.fx writes a new class for every GraphModule whenever its graph is set or it is copied.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.fx import GraphModule, Proxy

from lean3d.errors import ConversionError

__all__ = [
    "Graph",
    "copy_modes",
    "forget_in_copies",
    "keep_with_copies",
    "refuse_tracing",
    "without_traces",
]

PRESERVED = "_user_preserved_attributes"


class Graph:
    """A base before the class torch.fx wrote, which is the last base."""

    def recompile(self) -> Any:
        return _as_written(self).recompile()

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        result = _mixed_as(self, copy.deepcopy(_as_written(self), memo))
        copy_modes(self, result)
        return result

    def __copy__(self) -> Any:
        return _mixed_as(self, copy.copy(_as_written(self)))


def copy_modes(model: Any, result: Any) -> None:
    """Set the train or eval mode of the model; copies of torchvision's GraphModules train."""
    if result.training != model.training:
        result.train(model.training)
    for old, new in zip(model.modules(), result.modules(), strict=True):
        new.training = old.training


def _as_written(module: object) -> Any:
    """Return the same module, all attributes shared, with the class torch.fx wrote."""
    kind = type(module).__bases__[-1]
    twin: Any = object.__new__(kind)
    object.__setattr__(twin, "__dict__", vars(module))
    return twin


def _mixed_as(module: object, copied: object) -> Any:
    """Return a copy of the class torch.fx wrote, with the module's added bases in front."""
    vars(copied)["_depth_merge"] = vars(module).get("_depth_merge")
    bases = type(module).__bases__[:-1]
    copied.__class__ = type(type(module).__name__, (*bases, type(copied)), {})
    return copied


@contextmanager
def without_traces(model: nn.Module) -> Iterator[None]:
    """Keep torch.fx from printing where a run of this model fails; only for our own copies."""
    graphs = [module for module in model.modules() if isinstance(module, GraphModule)]
    for graph in graphs:
        vars(graph)["_wrapped_call"] = nn.Module.__call__
    try:
        yield
    finally:
        for graph in graphs:
            del vars(graph)["_wrapped_call"]


def keep_with_copies(module: nn.Module, name: str) -> None:
    """Make copies of a GraphModule keep an attribute, as those of other modules do."""
    if isinstance(module, GraphModule):
        module.meta[PRESERVED] = {**module.meta.get(PRESERVED, {}), name: getattr(module, name)}


def forget_in_copies(module: nn.Module, name: str) -> None:
    """Undo `keep_with_copies`."""
    if isinstance(module, GraphModule):
        module.meta.get(PRESERVED, {}).pop(name, None)


def refuse_tracing(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise ConversionError while torch.fx traces: there are no sizes to merge axes by."""
    if any(isinstance(value, Proxy) for value in (*args, *kwargs.values())):
        raise ConversionError(
            f"torch.fx cannot trace {type(module).__name__}, whose own forward assumes 4-D input; "
            "trace the 2D model first and convert the graph, which stays one: "
            "convert(create_feature_extractor(model, ...), how)"
        )
