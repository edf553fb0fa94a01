"""Modules that `where` left 2D in a 3D network: in a depth-merged forward they receive slices.

Axes: B batch, C channels, D depth, H height, W width.
"""

from typing import Any

from torch import nn

from lean3d.conversion.surgery.subclass import mixed
from lean3d.conversion.to3d.merged.active import innermost, inside
from lean3d.conversion.to3d.merged.modules import Crossing
from lean3d.conversion.to3d.merged.spread import Spread
from lean3d.conversion.to3d.merged.stack import Stack
from lean3d.conversion.trace.tree import mapped

__all__ = ["slice_by_slice"]


class Sliced(Crossing):
    """A 2D module that is called with (B*D, C, H, W); functions in it run as in 2D."""

    def __call__(self, *args: object, **kwargs: object) -> Any:
        around = innermost()
        stack = Stack(around.merge) if isinstance(around, Spread) else None
        with inside(None):
            if stack is not None:
                args, kwargs = mapped(
                    (args, kwargs), lambda x: stack.merge_depth(around.split_depth(x))
                )
            result = super(Crossing, self).__call__(*args, **kwargs)  # type: ignore[misc]
            if stack is None or not stack.seen:
                return result
            return mapped(result, lambda y: around.merge_depth(stack.split_depth(y)))


def slice_by_slice(module: nn.Module) -> None:
    """Give a module slices when a depth-merged forward calls it."""
    if not isinstance(module, Crossing):
        module.__class__ = mixed(Sliced, type(module))
