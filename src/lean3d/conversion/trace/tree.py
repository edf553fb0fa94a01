"""Map a function over every tensor in a module's inputs or outputs; copy them."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

from torch import Tensor

__all__ = ["copies", "mapped"]


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return a new nest of lists, tuples, dicts and dataclasses with every tensor mapped.

    A forward may write into a list that it is given: each run gets lists of its own.
    """
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(item, change) for item in value))
    if type(value) in (list, tuple):
        return type(value)([mapped(item, change) for item in value])
    if isinstance(value, dict):
        same = {key: mapped(item, change) for key, item in value.items()}
        return same if type(value) is dict else type(value)(same)
    if is_dataclass(value) and not isinstance(value, type):
        items = {f.name: mapped(getattr(value, f.name), change) for f in fields(value) if f.init}
        return replace(value, **items)
    return value


def copies(value: Any) -> Any:
    """Return the same nest with copies of all tensors, for a forward that may write into them."""
    return mapped(value, lambda x: x.clone())
