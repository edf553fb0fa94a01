"""Run a 2D forward, unchanged, on a volume.

Where it is pointwise or global, depth is merged into height (`Spread`): no function needs a rule,
and nothing is copied. Where it uses neighbours, depth is merged into the batch (`Stack`), and the
functions that use neighbours run by their 3D rules (`Intercept`).

Child modules of a depth-merged forward receive (B, C, D, H, W) again, as do their hooks.

Axes: B batch, C channels, D depth, H height, W width.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from lean3d.conversion.surgery.fx import refuse_tracing
from lean3d.conversion.surgery.subclass import Mixed, mixed, own_class
from lean3d.conversion.to3d.base import DepthMerge
from lean3d.conversion.to3d.merged.active import MOVING, innermost, inside
from lean3d.conversion.to3d.merged.call import FUNCTION_RULES, Call, Same
from lean3d.conversion.to3d.merged.empty import is_empty, through_one
from lean3d.conversion.to3d.merged.sides import is_marked, mark, with_depth
from lean3d.conversion.to3d.merged.spread import Marks, Spread
from lean3d.conversion.to3d.merged.stack import Stack
from lean3d.conversion.trace.tree import mapped
from lean3d.conversion.trace.trial_run import in_trial
from lean3d.errors import ConversionError
from lean3d.ops.leaf import Leaf
from lean3d.ops.views import LearntViews
from lean3d.torch_functions import SIZES
from lean3d.tracer import Args, Function, Kwargs

__all__ = ["Crossing", "merges_depth", "restore_class", "restore_depth", "run_merged"]

SAME, CARRIES = "_same", "_carries"


class Intercept(TorchFunctionMode):
    """Apply the 3D rules of functions where `stack` is innermost; tensors are (B*D, C, H, W)."""

    def __init__(self, stack: Stack, module: "DepthMerged"):
        super().__init__()
        self.stack, self.module = stack, module

    def __torch_function__(
        self, function: Function, types: object, args: Args = (), kwargs: Kwargs | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if innermost() is not self.stack:
            return function(*args, **kwargs)
        carries = self.stack.carries
        if carries and function in SIZES:
            axis = args[1] if len(args) > 1 else kwargs.get("dim")
            return with_depth(function(*args, **kwargs), args[0], axis, self.stack.batch)
        rule = FUNCTION_RULES.get(function, Call.plainly)
        result = rule(Call(self.stack, self.module, function, args, kwargs))
        return mark(result) if carries and is_marked((args, kwargs)) else result


class Crossing(Mixed):
    """A child module of a depth-merged forward; it receives 5-D tensors."""

    def __call__(self, *args: object, **kwargs: object) -> Any:
        around = innermost()
        if around is None:
            return super().__call__(*args, **kwargs)  # type: ignore[misc]
        split = False

        def split_one(x: object) -> Any:
            nonlocal split
            volume = around.split_depth(x)
            split |= volume is not x
            return volume

        with inside(MOVING):
            volumes = mapped((args, kwargs), split_one)
        if not split:
            return super().__call__(*args, **kwargs)  # type: ignore[misc]
        with inside(None):
            if (window := vars(self).get(SAME)) and isinstance(around, Stack) and args:
                x: Any = args[0]
                volumes = (around.padded_for(window, x, volumes[0][0]), *volumes[0][1:]), volumes[1]
            result = super().__call__(*volumes[0], **volumes[1])  # type: ignore[misc]
        with inside(MOVING):
            return mapped(result, around.merge_depth)


class DepthMerged(Crossing, LearntViews, Leaf):
    """A module whose own forward assumes 4-D input; torch.fx records it as one call."""

    _depth_merge: DepthMerge

    def forward(self, *args: object, **kwargs: object) -> Any:
        if innermost() is not None:  # depth is already merged
            return super().forward(*args, **kwargs)
        refuse_tracing(self, args, kwargs)
        stacked = self._depth_merge.stack and not torch.compiler.is_compiling()
        if stacked and is_empty(args, kwargs):
            return through_one(self, self.forward, args, kwargs)
        state = Stack(self._depth_merge) if self._depth_merge.stack else Spread(self._depth_merge)
        with inside(MOVING):
            merged = mapped((args, kwargs), state.enter)
        if not state.seen:  # there was no volume among the inputs
            return super().forward(*args, **kwargs)
        if self._depth_merge.carries and torch.compiler.is_compiling():
            raise ConversionError(
                f"{own_class(self).__name__} computes sizes in its forward, and compilers do not "
                "follow what these are along depth; leave it out of torch.compile and export, or "
                "record it at one size by torch.jit.trace"
            )
        with _merged(state, self):
            result = super().forward(*merged[0], **merged[1])
        if isinstance(state, Stack) and in_trial() and state.doubts():
            vars(self)[CARRIES] = True
        with inside(MOVING):
            return mapped(result, state.leave)


@contextmanager
def _merged(state: Spread | Stack, module: DepthMerged) -> Iterator[None]:
    """Run a forward with depth merged."""
    # compilers follow these, and not a context that is kept in a variable
    if isinstance(state, Stack):
        with inside(state), Intercept(state, module):
            yield
    else:
        with inside(state), Marks(state) if state.ambiguous else nullcontext():
            yield


def run_merged(module: nn.Module, merge: DepthMerge) -> None:
    """Run a module's own forward on volumes, with depth merged."""
    vars(module)["_depth_merge"] = merge
    module.__class__ = mixed(DepthMerged, type(module))


def merges_depth(module: nn.Module) -> bool:
    """Whether a module's own forward runs with depth merged."""
    return "_depth_merge" in vars(module)


def restore_depth(module: nn.Module, same: Same | None = None) -> None:
    """Restore depth for a module that is called from a depth-merged forward.

    Args:
        same: Its window, if the forwards that call it pad its input as "same" does.
    """
    if same is not None:
        vars(module)[SAME] = same
    if not isinstance(module, Crossing):
        module.__class__ = mixed(Crossing, type(module))


def restore_class(module: nn.Module) -> None:
    """Undo `run_merged` and `restore_depth`, and other ways to restore depth for a module."""
    kind: Any = own_class(module)
    if isinstance(module, Mixed):
        module.__class__ = kind
    for name in ("_depth_merge", SAME, CARRIES):
        vars(module).pop(name, None)
