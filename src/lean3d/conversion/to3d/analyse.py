"""Run a 2D model and classify which of its own forwards assume 4-D input.

A forward has the kind of the most demanding function it calls.

Axes: B batch, C channels, H height, W width.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from torch import Size, Tensor, nn
from torch.overrides import TorchFunctionMode

from lean3d.conversion.to3d.geometry import same_padding
from lean3d.conversion.to3d.merged.intercept import FUNCTION_RULES
from lean3d.conversion.trace.compare import tensors
from lean3d.conversion.trace.ops_table import NATIVE, STACK, is_local, kind_of, name_of, window
from lean3d.conversion.trace.source_line import running_line

__all__ = ["Need", "survey"]


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
    without_rule: dict[str, str] = field(default_factory=dict)

    def ask(self, kind: int, line: Callable[[], str]) -> None:
        if kind > self.kind:
            self.kind, self.line = kind, line()

    def note(self, place: int, value: Any) -> None:
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
        return found


def survey(model: nn.Module, ruled: Collection[str], run: Callable[[], Any]) -> dict[str, Need]:
    """Return the needs of every module's own forward, by path.

    Args:
        ruled: Paths of modules that a rule replaces; their calls are ignored.
        run: Calls the 2D model.
    """
    needs = {path: Need() for path, _ in model.named_modules()}
    watch = _Watch(model, needs, set(ruled))
    try:
        with watch:
            run()
    finally:
        watch.remove()
    return needs


class _Watch(TorchFunctionMode):
    def __init__(self, model: nn.Module, needs: dict[str, Need], ruled: set[str]):
        super().__init__()
        self.needs, self.ruled = needs, ruled
        self.stack: list[str] = []  # modules whose forwards are running, innermost last
        self.modules = dict(model.named_modules())
        self.padded: list[tuple[Tensor, Size, Any]] = []
        self.handles: list[Any] = []
        for path, module in self.modules.items():
            self.handles.append(
                module.register_forward_pre_hook(self._enter(path), with_kwargs=True)
            )
            self.handles.append(module.register_forward_hook(self._leave, always_call=True))

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()

    def _enter(self, path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if self.stack:
                caller = self.needs[self.stack[-1]]
                caller.callees.add(path)
                if any(_holds_size(value) for value in [*args, *kwargs.values()]):
                    # a size read from (B, C, D*H, W) would differ from that of the volume
                    caller.ask(STACK, running_line)
            self._look(self.needs[path], 0, [args, kwargs])
            self.stack.append(path)

        return hook

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self._look(self.needs[self.stack.pop()], 1, output)

    def _look(self, need: Need, place: int, value: Any) -> None:
        stack, self.stack = self.stack, []  # no forward is running
        need.note(place, value)
        self.stack = stack

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        watched = self.stack and self.stack[-1] not in self.ruled
        before = [tuple(x.shape) for x in tensors([args, kwargs])] if watched else []
        result = function(*args, **kwargs)
        if before:
            need = self.needs[self.stack[-1]]
            kind = kind_of(function, args, kwargs, result, before)
            need.ask(kind, running_line)
            if kind == STACK and is_local(function) and function not in FUNCTION_RULES:
                need.without_rule.setdefault(name_of(function), running_line())
            self._note(function, args, kwargs, result, need)
        return result

    def _note(self, function: Any, args: Any, kwargs: Any, result: Any, need: Need) -> None:
        name = getattr(function, "__name__", "")
        if name == "pad" and isinstance(result, Tensor) and result.ndim == 4:
            mode = args[2] if len(args) > 2 else kwargs.get("mode", "constant")
            pads = args[1] if len(args) > 1 else kwargs["pad"]
            if mode == "constant":
                self.padded.append((result, args[0].shape, pads))
        if name in ("conv2d", "max_pool2d", "avg_pool2d"):
            self._note_same(name, args, kwargs, need)
        if name == "conv2d":
            weight = args[1] if len(args) > 1 else kwargs["weight"]
            owner = self.modules[self.stack[-1]]
            need.computed |= weight is not owner._parameters.get("weight")

    def _note_same(self, name: str, args: Any, kwargs: Any, need: Need) -> None:
        x = args[0] if args else kwargs["input"]
        pads = next(((size, pad) for y, size, pad in self.padded if y is x), None)
        if pads is None:
            return
        kernel, stride, dilation = window(name, args, kwargs)
        sizes, pad = pads
        expected = [
            amount
            for axis in (1, 0)
            for amount in same_padding(sizes[2 + axis], kernel[axis], stride[axis], dilation[axis])
        ]
        fits = list(pad) == expected
        need.same, need.differs = fits and not need.differs, need.differs or not fits


def _holds_size(value: Any) -> bool:
    if isinstance(value, Size):
        return len(value) >= 2
    if isinstance(value, (tuple, list)):
        return bool(value) and any(_holds_size(item) for item in value)
    return isinstance(value, int) and not isinstance(value, bool) and value > 1
