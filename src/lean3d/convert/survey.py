"""Watch a 2D model run, and say which of its own forwards speak 2D.

Every tensor function that a module's own forward calls is one of three kinds:

- it means the same on (B, C, D, H, W): activations, sums, a cat of channels;
- it sees every voxel alone, or all of them at once: a permutation to channels-last and back, a mean
  over the image, a group norm. Laying depth into height, (B, C, D*H, W), gives the 3D answer;
- it sees neighbours: convolutions, pools, interpolation, padding, crops. Those need depth by itself.

A forward is as demanding as the most demanding function it calls. What is not known to be of the
first kind or the last is taken for the middle one; the self-check proves or refutes that.

Axes: B batch, C channels, H height, W width.
"""

import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Size, Tensor, nn
from torch.overrides import TorchFunctionMode

from lean3d.convert.compare import tensors

__all__ = ["NATIVE", "SPREAD", "STACK", "Need", "survey"]

Kind = Literal[0, 1, 2]
NATIVE, SPREAD, STACK = 0, 1, 2

ELEMENTWISE = """abs add add_ alpha_dropout celu celu_ clamp clamp_ clamp_max clamp_min clip clone contiguous
cos detach div div_ double dropout dropout_ elu elu_ erf exp exp_ float gelu half hardshrink hardsigmoid hardswish
hardtanh hardtanh_ leaky_relu leaky_relu_ log log1p log_sigmoid logsigmoid maximum minimum mish mul mul_ neg ones_like
pow reciprocal relu relu6 relu_ relu6_ rsqrt selu selu_ sigmoid sigmoid_ sign silu sin softplus sqrt square sub sub_
tanh tanh_ threshold true_divide type where zeros_like __add__ __iadd__ __imul__ __mul__ __neg__ __pow__
__radd__ __rmul__ __rsub__ __rtruediv__ __sub__ __truediv__ rsub""".split()
# batch norm takes any number of axes after the second, the others any before the last
ANY_AXES = ["batch_norm", "linear", "layer_norm", "rms_norm", "to", "type_as"]
ON_CHANNELS = ["cat", "concat", "concatenate", "chunk", "split", "tensor_split", "softmax", "unbind"]
HARMLESS = ["is_floating_point", "is_complex", "requires_grad_", "dim_order", "is_contiguous"]
LOCAL = """conv2d conv_transpose2d max_pool2d max_pool2d_with_indices avg_pool2d lp_pool2d interpolate upsample
upsample_bilinear upsample_nearest pixel_shuffle pixel_unshuffle unfold fold grid_sample fractional_max_pool2d
fractional_max_pool2d_with_indices max_unpool2d roll flip""".split()
ADAPTIVE = ["adaptive_avg_pool2d", "adaptive_max_pool2d", "adaptive_max_pool2d_with_indices"]


@dataclass
class Need:
    """What one module's own forward asks for.

    Args:
        kind: NATIVE, SPREAD or STACK.
        line: The line of code that asks for it.
        same: Its padding makes ceil(size / stride) outputs at any size, as TensorFlow's "same" does.
        computed: It convolves with a kernel that is not simply its own parameter.
        shapes: Of the first image that enters and of the first that leaves.
        channels_last: Whether these are (B, H, W, C).
    """

    kind: int = NATIVE
    line: str = ""
    same: bool = False
    computed: bool = False
    callees: set[str] = field(default_factory=set)
    shapes: list[Size | None] = field(default_factory=lambda: [None, None])
    channels_last: tuple[bool, bool] = (False, False)
    _differs: bool = False

    def ask(self, kind: int, line: Callable[[], str]) -> None:
        if kind > self.kind:
            self.kind, self.line = kind, line()

    def note(self, place: int, value: Any) -> None:
        """Keep the shape of the first image among what enters (0) or leaves (1)."""
        images = [x.shape for x in tensors(value) if x.ndim == 4]
        if self.shapes[place] is None and images:
            self.shapes[place] = images[0]

    def and_also(self, other: "Need") -> "Need":
        """What both ask for; `other` saw an image of another height."""
        more = max(self, other, key=lambda need: need.kind)
        same, computed = self.same or other.same, self.computed or other.computed
        # the axis that follows the height of the image says where the channels are
        pairs = zip(self.shapes, other.shapes, strict=True)
        last = [bool(a and b and a[1] != b[1] and a[3] == b[3]) for a, b in pairs]
        last = [one or known for one, known in zip(last, self.channels_last, strict=True)]
        callees = self.callees | other.callees
        return Need(more.kind, more.line, same, computed, callees, channels_last=(last[0], last[1]))


def survey(
    model: nn.Module, ruled: Collection[str], run: Callable[[], Any]
) -> dict[str, Need]:
    """What every module's own forward asks for, by path.

    Args:
        ruled: Paths of modules that a rule replaces; what these call does not matter.
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
        self.model, self.needs, self.ruled = model, needs, ruled
        self.stack = [""]
        self.modules = dict(model.named_modules())
        self.padded: list[tuple[Tensor, Size, Any]] = []
        self.handles: list[Any] = []
        for path, module in self.modules.items():
            self.handles.append(
                module.register_forward_pre_hook(self._enter(path), with_kwargs=True)
            )
            self.handles.append(module.register_forward_hook(self._leave, always_call=True))
        self.stack = []

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()

    def _enter(self, path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if self.stack:
                caller = self.needs[self.stack[-1]]
                caller.callees.add(path)
                if any(_holds_size(value) for value in [*args, *kwargs.values()]):
                    # a size read from (B, C, D*H, W) would not be that of the volume
                    caller.ask(STACK, _line)
            self._look(self.needs[path], 0, [args, kwargs])
            self.stack.append(path)

        return hook

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self._look(self.needs[self.stack.pop()], 1, output)

    def _look(self, need: Need, place: int, value: Any) -> None:
        stack, self.stack = self.stack, []  # nobody's forward is running
        need.note(place, value)
        self.stack = stack

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        inside = not self.stack or any(path in self.ruled for path in self.stack[-1:])
        before = None
        if not inside:
            before = [tuple(x.shape) for x in tensors([args, kwargs])]
        result = function(*args, **kwargs)
        if before:
            need = self.needs[self.stack[-1]]
            need.ask(_kind(function, args, kwargs, result, before), _line)
            self._note(function, args, kwargs, result, need)
        return result

    def _note(self, function: Any, args: Any, kwargs: Any, result: Any, need: Need) -> None:
        name = getattr(function, "__name__", "")
        if name == "pad" and isinstance(result, Tensor) and result.ndim == 4:
            self.padded.append((result, args[0].shape, args[1] if len(args) > 1 else kwargs["pad"]))
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
        kernel, stride, dilation = _window(name, args, kwargs)
        sizes, pad = pads
        expected = []
        for axis in (1, 0):
            side = sizes[2 + axis]
            total = (-(-side // stride[axis]) - 1) * stride[axis]
            total = max(total + dilation[axis] * (kernel[axis] - 1) + 1 - side, 0)
            expected += [total // 2, total - total // 2]
        fits = list(pad) == expected
        need.same, need._differs = fits and not need._differs, need._differs or not fits


def _window(name: str, args: Any, kwargs: Any) -> tuple[Any, Any, Any]:
    """Kernel, stride and dilation, each along (H, W)."""
    if name == "conv2d":
        names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
        given = dict(zip(names, args, strict=False)) | kwargs
        kernel = tuple(given["weight"].shape[-2:])
    else:
        names = ("input", "kernel_size", "stride", "padding")
        given = dict(zip(names, args, strict=False)) | kwargs
        kernel = _pair(given["kernel_size"])
        given["stride"] = given.get("stride") or kernel
    return kernel, _pair(given.get("stride", 1)), _pair(given.get("dilation", 1))


def _pair(value: Any) -> tuple[int, int]:
    value = (value,) if isinstance(value, int) else tuple(value)
    return (value[0], value[-1])


def _kind(
    function: Any, args: Any, kwargs: Any, result: Any, before: list[tuple[int, ...]]
) -> int:
    name = getattr(function, "__name__", "")
    if name == "__get__" or name == "__set__":
        owner = getattr(getattr(function, "__self__", None), "__name__", "")
        return SPREAD if owner in ("shape", "ndim", "T", "mT") else NATIVE
    if name in HARMLESS or name in ANY_AXES:
        return NATIVE
    if name in LOCAL:
        return SPREAD if name == "conv2d" and _is_pointwise(args, kwargs) else STACK
    if name in ADAPTIVE:
        size = args[1] if len(args) > 1 else kwargs["output_size"]
        return SPREAD if _pair(size if size is not None else 0) == (1, 1) else STACK
    shape = before[0]
    if max(map(len, before)) <= 2 and all(x.ndim <= 2 for x in tensors(result)):
        return NATIVE  # no image is left
    spatial = len(shape) == 4
    grown = spatial and shape[2] * shape[3] > 1
    if name == "pad":
        pads = args[1] if len(args) > 1 else kwargs["pad"]
        return STACK if spatial and any(pads[:4]) else SPREAD
    if name == "__getitem__" and grown:
        return _kind_of_index(args[1], shape)
    if name in ("narrow", "select") and grown:
        dim = kwargs.get("dim", args[1] if len(args) > 1 else 0)
        return STACK if dim % 4 >= 2 else SPREAD
    if name in ELEMENTWISE:
        sized = [s for s in before if len(s) > 0]
        alike = all(len(s) == len(shape) and s[0] == shape[0] for s in sized)
        return NATIVE if alike else SPREAD
    if name in ON_CHANNELS and spatial:
        return _kind_on_axis(name, args, kwargs)
    if name in ("flatten", "view", "reshape", "unflatten", "squeeze") and spatial:
        return _kind_of_reshape(name, args, shape, result)
    return SPREAD


def _is_pointwise(args: Any, kwargs: Any) -> bool:
    kernel, stride, _ = _window("conv2d", args, kwargs)
    padding = args[4] if len(args) > 4 else kwargs.get("padding", 0)
    return kernel == stride == (1, 1) and padding in (0, (0, 0), [0, 0], "valid", "same")


def _kind_of_index(index: Any, shape: tuple[int, ...]) -> int:
    index = list(index) if isinstance(index, tuple) else [index]
    if any(isinstance(i, (Tensor, list)) or i is None for i in index):
        return SPREAD
    if Ellipsis in index:
        at = index.index(Ellipsis)
        index[at : at + 1] = [slice(None)] * (5 - len(index))
    if any(i != slice(None) for i in index[2:4]):
        return STACK
    return NATIVE if all(isinstance(i, slice) for i in index) else SPREAD


def _kind_on_axis(name: str, args: Any, kwargs: Any) -> int:
    place = 2 if name in ("split", "chunk", "tensor_split") else 1
    dim = kwargs.get("dim", kwargs.get("axis", args[place] if len(args) > place else 0))
    if name == "unbind" or not isinstance(dim, int):
        return SPREAD
    return NATIVE if dim in (0, 1) else SPREAD if name == "softmax" else STACK


def _kind_of_reshape(name: str, args: Any, shape: tuple[int, ...], result: Any) -> int:
    if not isinstance(result, Tensor):
        return SPREAD
    new, (height, width) = tuple(result.shape), shape[2:]
    if height * width == 1:
        return NATIVE if name == "flatten" and new == shape[:2] else SPREAD
    if len(new) == 2 and new[0] == shape[0]:
        return STACK  # a head of a fixed image size
    channels_last = height * width in new or (height in new and width in new)
    return SPREAD if channels_last or new[-2:] == (height, width) else STACK


def _holds_size(value: Any) -> bool:
    if isinstance(value, Size):
        return len(value) >= 2
    if isinstance(value, (tuple, list)):
        return bool(value) and any(_holds_size(item) for item in value)
    return isinstance(value, int) and not isinstance(value, bool) and value > 1


def _line() -> str:
    """The line of the model's code that is running, outside torch."""
    for frame in reversed(traceback.extract_stack(limit=40)):
        if frame.filename == __file__ or "/torch/" in frame.filename:
            continue
        if "/lean3d/convert/" in frame.filename:
            return ""  # nothing but torch's own modules is running
        return f"{frame.filename}:{frame.lineno}: {frame.line}"
    return ""
