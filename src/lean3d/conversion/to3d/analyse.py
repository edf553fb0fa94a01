"""Run a 2D model and classify which of its own forwards assume 4-D input.

A forward has the kind of the most demanding function it calls.

Axes: B batch, C channels, H height, W width.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch.nn.functional as F
from torch import Size, Tensor, nn

from lean3d.conversion.to3d.merged.call import FUNCTION_RULES
from lean3d.conversion.trace.compare import tensors
from lean3d.conversion.trace.ops_table import NATIVE, NEIGHBOURS, STACK, kind_of, window
from lean3d.conversion.trace.source_line import running_line
from lean3d.shape import same_padding
from lean3d.torch_functions import Trait, having, name_of
from lean3d.tracer import Args, Kwargs, Watch

__all__ = ["Need", "survey"]

Function: TypeAlias = Callable[..., object]
Shape: TypeAlias = tuple[int, ...]
PADDED = having(Trait.WINDOW) - {F.lp_pool2d}  # windows that `F.pad` before them may be made for


@dataclass
class Need:
    """What one module's own forward needs.

    Args:
        kind: NATIVE, SPREAD or STACK.
        line: The line of code that needs it.
        same: Its padding makes ceil(size / stride) outputs, as TensorFlow's "same" does.
        differs: Some of its padding does not.
        computed: It convolves with a kernel that is not one of its own parameters.
        shapes: Of its first input image and its first output image.
        channels_last: Whether these are (B, H, W, C).
        plugins: The 3D rules of other packages that its functions run by.
        without_rule: The functions it calls that use neighbours and have no 3D rule, and the lines.
    """

    kind: int = NATIVE
    line: str = ""
    same: bool = False
    computed: bool = False
    callees: set[str] = field(default_factory=set)
    shapes: list[Size | None] = field(default_factory=lambda: [None, None])
    channels_last: tuple[bool, bool] = (False, False)
    differs: bool = False
    plugins: tuple[Function, ...] = ()
    without_rule: dict[str, str] = field(default_factory=dict)

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
        differs = self.differs or other.differs
        same, computed = (self.same or other.same) and not differs, self.computed or other.computed
        # the axis that changes with the height of the image shows where the channels are
        pairs = zip(self.shapes, other.shapes, strict=True)
        last = [bool(a and b and a[1] != b[1] and a[3] == b[3]) for a, b in pairs]
        last = [one or known for one, known in zip(last, self.channels_last, strict=True)]
        found = Need(more.kind, more.line, same, computed, self.callees | other.callees)
        found.channels_last, found.differs = (last[0], last[1]), differs
        found.without_rule = self.without_rule | other.without_rule
        found.plugins = tuple(dict.fromkeys((*self.plugins, *other.plugins)))
        return found


def survey(model: nn.Module, ruled: Collection[str], run: Callable[[], object]) -> dict[str, Need]:
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
        if function is F.pad and isinstance(result, Tensor) and result.ndim == 4:
            mode = args[2] if len(args) > 2 else kwargs.get("mode", "constant")
            pads = args[1] if len(args) > 1 else kwargs["pad"]
            if mode == "constant":
                self.padded.append((result, args[0].shape, pads))
        if function in PADDED:
            self._note_same(function, args, kwargs, need)
        if function is F.conv2d:
            weight = args[1] if len(args) > 1 else kwargs["weight"]
            need.computed |= weight is not self.modules[path]._parameters.get("weight")

    def _note_same(self, function: Function, args: Args, kwargs: Kwargs, need: Need) -> None:
        x = args[0] if args else kwargs["input"]
        pads = next(((size, pad) for y, size, pad in self.padded if y is x), None)
        if pads is None:
            return
        kernel, stride, dilation = window(function, args, kwargs)
        sizes, pad = pads
        expected = [
            amount
            for axis in (1, 0)
            for amount in same_padding(sizes[2 + axis], kernel[axis], stride[axis], dilation[axis])
        ]
        fits = list(pad) == expected
        need.same, need.differs = fits and not need.differs, need.differs or not fits


def _holds_size(value: object) -> bool:
    if isinstance(value, Size):
        return len(value) >= 2
    if isinstance(value, (tuple, list)):
        return bool(value) and any(_holds_size(item) for item in value)
    return isinstance(value, int) and not isinstance(value, bool) and value > 1
