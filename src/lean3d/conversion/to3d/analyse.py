"""Run a 2D model and classify which of its own forwards assume 4-D input.

A forward has the kind of the most demanding function it calls.

Axes: B batch, C channels, H height, W width.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch.nn.functional as F
from torch import Size, Tensor, nn

from lean3d.conversion.to3d.geometry import pair
from lean3d.conversion.to3d.merged.call import FUNCTION_RULES, WINDOWS, Same
from lean3d.conversion.trace.compare import tensors
from lean3d.conversion.trace.inputs_2d import is_image
from lean3d.conversion.trace.ops_table import NATIVE, NEIGHBOURS, STACK, kind_of, window
from lean3d.conversion.trace.source_line import running_line
from lean3d.shape import same_padding
from lean3d.torch_functions import name_of
from lean3d.tracer import Args, Kwargs, Watch

__all__ = ["Need", "analyse"]

Function: TypeAlias = Callable[..., object]
Shape: TypeAlias = tuple[int, ...]
Pair: TypeAlias = tuple[int, int]
# whether padding before a window makes ceil(size / stride) outputs; None: none is there or needed
Fits: TypeAlias = bool | None
PADLESS = (0, (0, 0), "valid")


@dataclass
class Need:
    """What one module's own forward needs.

    Args:
        kind: NATIVE, SPREAD or STACK.
        line: The line of code that needs it.
        windows: Of its own windows, in order: padding before it makes ceil(size / stride) outputs,
            as TensorFlow's "same" does.
        fed: By path, the same of the windows of its child modules.
        computed: It convolves with a kernel that is not one of its own parameters.
        shapes: Of its first input image and its first output image.
        channels_last: Whether these are (B, H, W, C).
        plugins: The 3D rules of other packages that its functions run by.
        carries: It computes sizes, and what they are along depth is known from no other map.
        without_rule: The functions it calls that use neighbours and have no 3D rule, and the lines.
    """

    kind: int = NATIVE
    line: str = ""
    windows: tuple[Fits, ...] = ()
    computed: bool = False
    callees: set[str] = field(default_factory=set)
    shapes: list[Size | None] = field(default_factory=lambda: [None, None])
    channels_last: tuple[bool, bool] = (False, False)
    fed: dict[str, tuple[Fits, Same]] = field(default_factory=dict)
    plugins: tuple[Function, ...] = ()
    without_rule: dict[str, str] = field(default_factory=dict)
    carries: bool = False

    def ask(self, kind: int, line: Callable[[], str]) -> None:
        if kind > self.kind:
            self.kind, self.line = kind, line()

    def note(self, place: int, value: object) -> None:
        """Record the shape of the first image among the inputs (0) or outputs (1)."""
        images = [x.shape for x in tensors(value) if x.ndim == 4]
        if self.shapes[place] is None and images:
            self.shapes[place] = images[0]

    def and_also(self, other: "Need") -> "Need":
        """Return the union of both needs; `other` ran on an image of another height."""
        more = max(self, other, key=lambda need: need.kind)
        windows, computed = self.windows, self.computed or other.computed
        if len(windows) == len(other.windows):
            windows = tuple(map(both, windows, other.windows))
        # the axis that changes with the height of the image shows where the channels are
        pairs = zip(self.shapes, other.shapes, strict=True)
        last = [bool(a and b and a[1] != b[1] and a[3] == b[3]) for a, b in pairs]
        last = [one or known for one, known in zip(last, self.channels_last, strict=True)]
        found = Need(more.kind, more.line, windows, computed, self.callees | other.callees)
        found.channels_last, found.fed = (last[0], last[1]), dict(self.fed)
        for path, (fits, same) in other.fed.items():
            found.fed[path] = both(found.fed.get(path, (None, same))[0], fits), same
        found.without_rule = self.without_rule | other.without_rule
        found.plugins = tuple(dict.fromkeys((*self.plugins, *other.plugins)))
        return found


def analyse(model: nn.Module, ruled: Collection[str], run: Callable[[], object]) -> dict[str, Need]:
    """Return the needs of every module's own forward, by path.

    Args:
        ruled: Paths of modules that a rule replaces; their calls are ignored.
        run: Calls the 2D model.
    """
    watch = _Needs(model, set(ruled))
    watch.see(run)
    return watch.needs


class _Needs(Watch):
    def __init__(self, model: nn.Module, ruled: set[str]):
        super().__init__(model)
        self.needs = {path: Need() for path in self.modules}
        self.ruled = ruled
        self.padded: list[tuple[Tensor, Size, Sequence[int]]] = []

    def entered(self, path: str, args: Args, kwargs: Kwargs) -> None:
        if self.stack:
            caller = self.needs[self.stack[-1]]
            caller.callees.add(path)
            if any(_holds_size(value) for value in [*args, *kwargs.values()]):
                # a size read from (B, C, D*H, W) would differ from that of the volume
                caller.ask(STACK, running_line)
            found = _window_of(self.modules[path]) if path in self.ruled else None
            if found is not None and args and is_image(args[0]):
                sizes, same = found
                known = caller.fed.get(path, (None, same))[0]
                caller.fed[path] = both(known, self._fits(args[0], *sizes)), same
        self.needs[path].note(0, [args, kwargs])

    def left(self, path: str, args: Args, kwargs: Kwargs, output: object) -> None:
        self.needs[path].note(1, output)

    def calls(self, path: str, function: Function, args: Args, kwargs: Kwargs) -> list[Shape]:
        return [] if path in self.ruled else [tuple(x.shape) for x in tensors([args, kwargs])]

    def called(
        self,
        path: str,
        function: Function,
        args: Args,
        kwargs: Kwargs,
        result: object,
        before: list[Shape],
    ) -> None:
        if not before:
            return
        need = self.needs[path]
        kind = kind_of(function, args, kwargs, result, before)
        need.ask(kind, running_line)
        if kind == STACK and function in NEIGHBOURS and function not in FUNCTION_RULES:
            need.without_rule.setdefault(name_of(function), running_line())
        rule = FUNCTION_RULES.get(function)
        if rule is not None and not rule.__module__.startswith("lean3d."):
            need.plugins = tuple(dict.fromkeys((*need.plugins, rule)))
        self._note(path, function, args, kwargs, result)

    def _note(
        self, path: str, function: Function, args: Args, kwargs: Kwargs, result: object
    ) -> None:
        need = self.needs[path]
        if function is F.pad and is_image(result):
            x, pads = args[0] if args else kwargs["input"], args[1:2] or (kwargs["pad"],)
            self.padded.append((result, x.shape, pads[0]))
        if function in WINDOWS and is_image(x := args[0] if args else kwargs["input"]):
            need.windows += (self._fits(x, *window(function, args, kwargs)),)
        if function is F.conv2d:
            weight = args[1] if len(args) > 1 else kwargs["weight"]
            need.computed |= weight is not self.modules[path]._parameters.get("weight")

    def _fits(self, x: Tensor, kernel: Pair, stride: Pair, dilation: Pair) -> Fits:
        """Whether the image was padded for this window as "same" does."""
        size, pads = next(((s, pads) for y, s, pads in self.padded if y is x), (x.shape, None))
        expected = [
            amount
            for axis in (1, 0)
            for amount in same_padding(size[2 + axis], kernel[axis], stride[axis], dilation[axis])
        ]
        if pads is None:
            return False if any(expected) else None
        return list(pads) == expected


def both(one: Fits, other: Fits) -> Fits:
    """Return whether padding fits in both runs, or in one where the other needs none."""
    return False if False in (one, other) else one or other


def _window_of(module: nn.Module) -> tuple[tuple[Pair, Pair, Pair], Same] | None:
    """Return the window of a convolution or pool that has no padding of its own."""
    if not isinstance(module, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.LPPool2d)):
        return None
    if getattr(module, "padding", 0) not in PADLESS:
        return None
    stride = module.kernel_size if module.stride is None else module.stride
    kernel, stride, dilation = map(
        pair, (module.kernel_size, stride, getattr(module, "dilation", 1))
    )
    beyond = -math.inf if isinstance(module, nn.MaxPool2d) else 0.0
    return (kernel, stride, dilation), Same(kernel[0], stride[0], dilation[0], beyond)


def _holds_size(value: object) -> bool:
    if isinstance(value, Size):
        return len(value) >= 2
    if isinstance(value, (tuple, list)):
        return bool(value) and any(_holds_size(item) for item in value)
    return isinstance(value, int) and not isinstance(value, bool) and value > 1
