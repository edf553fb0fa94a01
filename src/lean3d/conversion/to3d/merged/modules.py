"""Run a 2D forward, unchanged, on a volume.

Where it is pointwise or global, depth is merged into height (`Spread`): no function needs a rule,
and nothing is copied. Where it uses neighbours, depth is merged into the batch (`Stack`), and the
functions that use neighbours run by their 3D rules (`Intercept`).

Child modules of a depth-merged forward receive (B, C, D, H, W) again, as do their hooks.

Axes: B batch, C channels, D depth, H height, W width.
"""

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lean3d.conversion.surgery.fx import refuse_tracing
from lean3d.conversion.surgery.subclass import Mixed, mixed, own_class
from lean3d.conversion.to3d.base import Folding
from lean3d.conversion.to3d.merged.call import FUNCTION_RULES, Call, Same
from lean3d.conversion.to3d.merged.empty import is_empty, through_one
from lean3d.conversion.to3d.merged.sides import SIZES, is_marked, mark, marked_depth, with_depth
from lean3d.conversion.trace.tree import mapped
from lean3d.conversion.trace.trial_run import in_trial
from lean3d.errors import ConversionError
from lean3d.ops.leaf import Leaf
from lean3d.ops.views import LearntViews
from lean3d.shape import same_padding
from lean3d.tracer import Args, Function, Kwargs

__all__ = [
    "Crossing",
    "Spread",
    "Stack",
    "innermost",
    "inside",
    "is_moving",
    "merge_depth",
    "merges_depth",
    "restore_class",
    "restore_depth",
    "volume",
]

# per-thread stack of active depth-merge contexts, innermost last; None while on 5-D tensors
_LOCAL = threading.local()
SAME, CARRIES = "_same", "_carries"
MOVING = "moving"  # in place of a context while an axis is merged or restored


class Spread:
    """Depth merged into height: (B, C, D, H, W) as (B, C, D*H, W)."""

    def __init__(self, folding: Folding):
        self.folding = folding
        self.seen: list[tuple[int, int, int]] = []  # D*H, W, D
        # volumes of different depth have equal sizes while that is merged into height
        self.ambiguous = False

    def enter(self, x: object) -> Any:
        return self.fold(x, 1 if self.folding.channels_last_in else 2)

    def fold(self, x: Any, place: int = 2) -> Any:
        if not isinstance(x, Tensor) or x.ndim != 5:
            return x
        depth, height, width = x.shape[place : place + 3]
        size, merged = (depth * height, width, depth), x.flatten(place, place + 1)
        if torch.compiler.is_compiling() or torch.jit.is_tracing():  # sizes may be symbols
            self.seen.append(size)
            return merged
        if size not in self.seen:
            self.ambiguous |= any(size[:2] == other[:2] for other in self.seen)
            self.seen.append(size)
        return mark(merged, depth)

    def unfold(self, x: object) -> Any:
        return self._unfold(x, 2)

    def leave(self, x: object) -> Any:
        return self._unfold(x, 1 if self.folding.channels_last_out else 2)

    def _unfold(self, x: object, place: int) -> Any:
        if not isinstance(x, Tensor) or x.ndim != 4:
            return x
        for tall, wide, depth in (*self.seen, (1, 1, 1)):
            if x.shape[place] == tall and x.shape[place + 1] == wide:
                if self.ambiguous:
                    depth = marked_depth(x) or depth
                sizes = (*x.shape[:place], depth, tall // depth, *x.shape[place + 1 :])
                return x.reshape(sizes)
        return x

    @contextmanager
    def __call__(self, module: object) -> Iterator[None]:
        with inside(self), _Marks(self) if self.ambiguous else nullcontext():
            yield


class _Marks(TorchFunctionMode):
    """Notes on what functions return the depth of their first map, where sizes do not say it."""

    def __init__(self, spread: Spread):
        super().__init__()
        self.spread = spread

    def __torch_function__(
        self, function: Function, types: object, args: Args = (), kwargs: Kwargs | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if innermost() is not self.spread:
            return result
        depth = marked_depth((args, kwargs))
        return result if depth is None else mark(result, depth)


@dataclass
class Padded:
    """A tensor that a forward has padded.

    Args:
        ends: Its padding along depth.
        before: Returns the volume padded along height and width alone.
        doubtful: Nothing but the sizes that the forward computes says `ends`.
    """

    tensor: Callable[[], Tensor | None]
    ends: tuple[int, int]
    mode: str = "constant"
    value: float = 0.0
    before: Callable[[], Tensor] | None = None
    doubtful: bool = False


class Stack:
    """Depth merged into the batch: (B, C, D, H, W) as (B*D, C, H, W); other tensors are unchanged.

    `batch` is B; a tensor's depth is its first axis divided by B.
    """

    def __init__(self, folding: Folding):
        self.folding, self.batch, self.calls, self.windows = folding, 0, 0, 0
        self.pads: list[Padded] = []
        # sizes carry depth where it counts, and while it is found out whether it does
        self.carries = folding.carries or (in_trial() and not torch.compiler.is_compiling())
        self.doubtful = False
        self.seen: list[tuple[int, int, int]] = []  # H, W, D

    def enter(self, x: object) -> Any:
        return self.fold(x, 1 if self.folding.channels_last_in else 2)

    def fold(self, x: Any, place: int = 2) -> Any:
        if not isinstance(x, Tensor) or x.ndim != 5:
            return x
        self.batch = x.shape[0]
        depth, height, width = x.shape[place : place + 3]
        self.seen.append((height, width, depth))
        merged = x.transpose(1, place).flatten(0, 1)
        return mark(merged) if self.carries else merged

    def unfold(self, x: object) -> Any:
        if not isinstance(x, Tensor) or x.ndim != 4 or x.shape[0] % self.batch:
            return x
        volume = x.reshape(self.batch, -1, *x.shape[1:]).transpose(1, 2)
        # torch's tracer and its kernels disagree on the strides that result from this view's
        return volume.contiguous() if torch.compiler.is_compiling() else volume

    def leave(self, x: object) -> Any:
        if isinstance(x, Tensor) and x.ndim == 4 and not self.folding.channels_last_out:
            return self.unfold(x)
        if not isinstance(x, Tensor) or x.ndim == 0 or x.shape[0] % self.batch:
            return x
        if x.shape[0] == self.batch and x.ndim < 4:
            return x
        slices = x.reshape(self.batch, -1, *x.shape[1:])
        return slices.mean(1) if x.ndim == 2 else slices

    def depth_of(self, height: int, width: int) -> int | None:
        """Return the depth of the volume that was seen with these other sizes."""
        around = [fold for fold in _around() if isinstance(fold, Stack)]
        for fold in reversed(around):
            for tall, wide, depth in fold.seen:
                if (tall, wide) == (height, width):
                    return depth
        return None

    def note_padding(self, x: Tensor, ends: tuple[int, int], **more: Any) -> None:
        """Remember the padding of a tensor for the window that reads it, see `padded_for`."""
        tensor = (lambda: x) if torch.compiler.is_compiling() else weakref.ref(x)
        self.pads.append(Padded(tensor, ends, **more))

    def padded_for(self, window: Same, x: Tensor, x_BCDHW: Tensor) -> Tensor:
        """Pad depth for ceil(D / stride) outputs, as the forward padded height and width of `x`."""
        known = (pad for pad in self.pads if pad.tensor() is x)
        pad = next(known, Padded(lambda: x, (0, 0), value=window.beyond))
        pad.doubtful, (front, back), mode = False, pad.ends, pad.mode
        if min(front, back) < 0 and pad.before is not None:
            x_BCDHW, front, back = pad.before(), 0, 0
        depth = x_BCDHW.shape[2] - front - back
        wanted = same_padding(depth, window.kernel, window.stride, window.dilation)
        if (front, back) == wanted:
            return x_BCDHW
        if mode == "constant" and (self.folding.constant_axis == 0 or self.repeats):
            mode = "replicate"
        fill = {"value": pad.value} if mode == "constant" else {}
        return F.pad(x_BCDHW.narrow(2, front, depth), (0, 0, 0, 0, *wanted), mode, **fill)

    def doubts(self) -> bool:
        """Whether a size along depth is known from nothing but what the forward computed."""
        return self.doubtful or any(pad.doubtful for pad in self.pads)

    @property
    def repeats(self) -> bool:
        """Whether depth is padded by its border slices."""
        return self.folding.how.depth_padding == "replicate"

    @contextmanager
    def __call__(self, module: "Folded") -> Iterator[None]:
        with inside(self), Intercept(self, module):
            yield


class Intercept(TorchFunctionMode):
    """Apply the 3D rules of functions where `stack` is innermost; tensors are (B*D, C, H, W)."""

    def __init__(self, stack: Stack, module: "Folded"):
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


def _around() -> tuple[Any, ...]:
    return getattr(_LOCAL, "around", ())


def innermost() -> Any:
    """Return this thread's active depth-merge context; None while on 5-D tensors."""
    around = _around()
    return around[-1] if around else None


def is_moving() -> bool:
    """Whether the functions that run merge depth into another axis, or restore it."""
    return innermost() is MOVING


@contextmanager
def inside(state: object) -> Iterator[None]:
    outer = _around()
    _LOCAL.around = (*outer, state)
    try:
        yield
    finally:
        _LOCAL.around = outer


class Crossing(Mixed):
    """A child module of a depth-merged forward; it receives 5-D tensors."""

    def __call__(self, *args: object, **kwargs: object) -> Any:
        around = innermost()
        if around is None:
            return super().__call__(*args, **kwargs)  # type: ignore[misc]
        unfolded = False

        def unfold(x: object) -> Any:
            nonlocal unfolded
            volume = around.unfold(x)
            unfolded |= volume is not x
            return volume

        with inside(MOVING):
            volumes = mapped((args, kwargs), unfold)
        if not unfolded:
            return super().__call__(*args, **kwargs)  # type: ignore[misc]
        with inside(None):
            if (window := vars(self).get(SAME)) and isinstance(around, Stack) and args:
                x: Any = args[0]
                volumes = (around.padded_for(window, x, volumes[0][0]), *volumes[0][1:]), volumes[1]
            result = super().__call__(*volumes[0], **volumes[1])  # type: ignore[misc]
        with inside(MOVING):
            return mapped(result, around.fold)


class Folded(Crossing, LearntViews, Leaf):
    """A module whose own forward assumes 4-D input; torch.fx records it as one call."""

    _folding: Folding

    def forward(self, *args: object, **kwargs: object) -> Any:
        if innermost() is not None:  # depth is already merged
            return super().forward(*args, **kwargs)
        refuse_tracing(self, args, kwargs)
        stacked = self._folding.stack and not torch.compiler.is_compiling()
        if stacked and is_empty(args, kwargs):
            return through_one(self, self.forward, args, kwargs)
        state = Stack(self._folding) if self._folding.stack else Spread(self._folding)
        with inside(MOVING):
            folded = mapped((args, kwargs), state.enter)
        if not state.seen:  # there was no volume among the inputs
            return super().forward(*args, **kwargs)
        if self._folding.carries and torch.compiler.is_compiling():
            raise ConversionError(
                f"{own_class(self).__name__} computes sizes in its forward, and compilers do not "
                "follow what these are along depth; leave it out of torch.compile and export, or "
                "record it at one size by torch.jit.trace"
            )
        with state(self):
            result = super().forward(*folded[0], **folded[1])
        if isinstance(state, Stack) and in_trial() and state.doubts():
            vars(self)[CARRIES] = True
        with inside(MOVING):
            return mapped(result, state.leave)


def merge_depth(module: nn.Module, folding: Folding) -> None:
    """Run a module's own forward on volumes, with depth merged."""
    vars(module)["_folding"] = folding
    module.__class__ = mixed(Folded, type(module))


def merges_depth(module: nn.Module) -> bool:
    """Whether a module's own forward runs with depth merged."""
    return "_folding" in vars(module)


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
    """Undo `merge_depth` and `restore_depth`, and other ways to restore depth for a module."""
    kind: Any = own_class(module)
    if isinstance(module, Mixed):
        module.__class__ = kind
    for name in ("_folding", SAME, CARRIES):
        vars(module).pop(name, None)


def volume(x: Tensor) -> Tensor:
    """Return a forward's `x` with its depth restored, if that is merged."""
    around = innermost()
    if around is None:
        return x
    with inside(None):
        return around.unfold(x)
