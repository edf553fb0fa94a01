"""3D rules for the functions that use neighbours, while depth is merged into the batch.

A function is run as the equivalent torch.nn module: that module is converted by its own rule and
applied to the volume. So there is one rule for each operation, as a module or as a function.

Axes: B batch, C channels, D depth, H height, W width.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from lean3d.conversion.surgery.swap import become
from lean3d.conversion.to3d.base import Converted, DepthMerge, Site
from lean3d.conversion.to3d.keep_depth import resamples
from lean3d.conversion.to3d.merged.sides import along_depth, plain
from lean3d.conversion.to3d.proof.replicate_axis import replicate_along
from lean3d.conversion.to3d.rules.registry import find_rule
from lean3d.conversion.trace.compare import tensors
from lean3d.conversion.trace.ops_table import NEIGHBOURS
from lean3d.conversion.trace.trial_run import in_trial
from lean3d.errors import ShapeError
from lean3d.torch_functions import CONCATENATES, Trait, having
from lean3d.tracer import Args, Function, Kwargs

if TYPE_CHECKING:
    from lean3d.conversion.to3d.merged.modules import DepthMerged
    from lean3d.conversion.to3d.merged.stack import Stack

__all__ = ["FUNCTION_RULES", "WINDOWS", "Call", "Same", "function_rule", "static"]

FunctionRule = Callable[["Call"], Any]
FUNCTION_RULES: dict[Callable[..., Any], FunctionRule] = {}
JOINING, WINDOWS = having(Trait.JOINS), having(Trait.WINDOW)
# of each thread: 3D modules without weights, by the 2D settings they were made from, most recent
_LOCAL = threading.local()
MOST = 256


@dataclass(frozen=True)
class Same:
    """A window along height, whose input is padded for ceil(size / stride) outputs.

    Args:
        beyond: The value beyond the first and last slice where height and width need no padding.
    """

    kernel: int
    stride: int
    dilation: int
    beyond: float

    @property
    def one_deep(self) -> "Same":
        """The window along depth where depth is kept."""
        return Same(1, 1, 1, self.beyond)


def _of_one_depth(args: tuple[Any, ...], batch: int) -> tuple[Any, ...]:
    """Repeat tensors without depth along depth, next to tensors that have it."""
    flat = [x for arg in args for x in (arg if isinstance(arg, (list, tuple)) else [arg])]
    counts = [x.shape[0] for x in flat if isinstance(x, Tensor) and x.ndim == 4]
    if len(counts) < 2 or batch not in counts or max(counts) == batch:
        return args
    depth = max(counts) // batch

    def repeat(x: Any) -> Any:
        if isinstance(x, (list, tuple)):
            return type(x)(map(repeat, x))
        alone = isinstance(x, Tensor) and x.ndim == 4 and x.shape[0] == batch
        return x.repeat_interleave(depth, 0) if alone else x

    return tuple(map(repeat, args))


class Call:
    """A function call on tensors whose depth is merged into the batch."""

    def __init__(
        self, stack: "Stack", module: "DepthMerged", function: Function, args: Args, kwargs: Kwargs
    ):
        self.stack, self.module, self.function = stack, module, function
        self.args, self.kwargs = args, kwargs
        self.merge: DepthMerge = module._depth_merge
        self.keep = self.same = False
        if resamples(function, args, kwargs):
            calls, stack.calls = self.merge.keep, stack.calls + 1
            self.keep = calls[min(stack.calls, len(calls)) - 1]
            if function in WINDOWS:
                windows, stack.windows = self.merge.same, stack.windows + 1
                self.same = windows[min(stack.windows, len(windows)) - 1]

    @property
    def repeats(self) -> bool:
        """Whether depth is padded by its border slices."""
        return self.stack.repeats

    def read(self, names: str, **defaults: object) -> dict[str, Any]:
        """The arguments by name."""
        return defaults | dict(zip(names.split(), self.args, strict=False)) | self.kwargs

    def plainly(self) -> Any:
        self.check_sizes()
        return self.function(*_of_one_depth(self.args, self.stack.batch), **self.kwargs)

    def check_sizes(self) -> None:
        """Raise ShapeError if joined maps have different sizes."""
        parts = self.function in CONCATENATES
        if self.function not in JOINING and not (parts and self._axis_of_parts() == 1):
            return
        maps = [x for x in tensors(self.args) if x.ndim == 4 and x.shape[0] % self.stack.batch == 0]
        sizes = [(x.shape[0] // self.stack.batch, *x.shape[2:]) for x in maps]
        for axis, along in enumerate(zip(*sizes, strict=True), start=2):
            # not a set: sizes may be symbols, under torch.export
            if any(a != b and a != 1 and b != 1 for a, b in combinations(along, 2)):
                raise ShapeError(
                    f"{type(self.module).__name__} joins maps of {along} voxels along axis {axis}, "
                    "because the volume was halved with a remainder; pad this axis to a multiple "
                    "of the network's stride (32 for five halvings), as its images are"
                )

    def _axis_of_parts(self) -> Any:
        return self.read("tensors dim", dim=0)["dim"]

    def volume(self, x: Tensor) -> Tensor:
        """Split (B*D, C, H, W) into (B, C, D, H, W)."""
        return self.stack.split_depth(x)

    def carried(self, depth: Any, guess: Callable[[], object]) -> Any:
        """Return what sizes carry along depth, and note where nothing else says it."""
        if in_trial():
            self.stack.doubtful |= depth != guess()
        return depth

    def module_3d(self, kind: type[nn.Module], *args: object, **kwargs: object) -> nn.Module:
        """Return the 3D form of a 2D torch.nn module without weights; cached per thread."""
        merge = self.merge
        settings = (*args, *(item for pair in sorted(kwargs.items()) for item in pair))
        flat, deep = plain(settings), along_depth(settings)
        self.carried(deep, lambda: flat)
        key = (kind, flat, deep, merge.how, self.keep, merge.constant_axis)
        made = getattr(_LOCAL, "made", None)
        if made is None:
            made = _LOCAL.made = {}
        if key not in made:
            if len(made) >= MOST:  # settings may depend on the sizes of the volumes
                made.pop(next(iter(made)))
            made[key] = _module_3d(kind(*args, **kwargs), merge, self.keep)
        return made[key]


def _module_3d(module: nn.Module, merge: DepthMerge, keep: bool) -> nn.Module:
    site = Site("", merge.how, keep)
    change = find_rule(module, site)
    result: Any = change(module, site) if change else module
    result = result.module if isinstance(result, Converted) else result
    if result is not module:
        become(module, result, site)
    if merge.constant_axis is not None:
        replicate_along(module, merge.constant_axis)
    return module


def function_rule(
    *functions: Callable[..., Any], neighbours: bool = True
) -> Callable[[FunctionRule], FunctionRule]:
    """Decorate the 3D rule of some torch functions that a forward may call on images.

    The rule is given a `Call` and returns what the call returns: `call.read` gives the arguments by
    name, `call.volume` the tensor as (B, C, D, H, W), `call.module_3d` the 3D form of the module
    that computes the same, and `call.stack.merge_depth` merges depth into the batch again. It may
    be in another package, see `lean3d.plugins`.

    Args:
        neighbours: They use neighbouring pixels, so that a forward with one runs with depth merged
            into the batch. Without, depth is merged into height if nothing else needs an axis of
            its own, and they run as they are.
    """

    def register(rule: FunctionRule) -> FunctionRule:
        for function in functions:
            if function in FUNCTION_RULES:
                raise ValueError(f"{function.__name__} already has a 3D rule")
            FUNCTION_RULES[function] = rule
            if neighbours:
                NEIGHBOURS.add(function)
        return rule

    return register


def static(value: object) -> Any:
    return tuple(value) if isinstance(value, (list, tuple)) else value
