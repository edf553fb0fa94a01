"""Modules that torch.fx records as one call, as it does those of torch.nn."""

from typing import Any

from torch import nn
from torch.fx import Proxy

__all__ = ["Leaf"]


class Leaf(nn.Module):
    """A leaf of every symbolic trace, whatever the tracer's own leaves are.

    So a graph names the module by its path, and choices of its forward by size or device are made
    when the graph runs.
    """

    def __call__(self, *args: object, **kwargs: object) -> Any:
        first = args[0] if args else next(iter(kwargs.values()), None)
        if not isinstance(first, Proxy):
            return super().__call__(*args, **kwargs)
        tracer: Any = first.tracer

        def record(*args: object, **kwargs: object) -> Any:
            return tracer.create_proxy("call_module", tracer.path_of_module(self), args, kwargs)

        return tracer.call_module(self, record, args, kwargs)
