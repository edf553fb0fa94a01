"""Classify torch functions by how they run on volumes: unchanged, depth merged, or by a 3D rule.

A function is one of three kinds:

- unchanged on (B, C, D, H, W): activations, sums, a cat of channels;
- pointwise or global: a permutation to channels-last and back, a mean over the image, a group
  norm. With depth merged into height, (B, C, D*H, W), they give the 3D output;
- using neighbours: convolutions, pools, interpolation, padding, crops. Those need depth as an
  axis of its own.

Unknown functions default to the second kind; the self-check confirms or rejects it.

Axes: B batch, C channels, D depth, H height, W width.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lean3d.conversion.to3d.geometry import every_axis, pair
from lean3d.conversion.trace.compare import tensors

__all__ = ["NATIVE", "SPREAD", "STACK", "is_local", "kind_of", "name_of", "window"]

NATIVE, SPREAD, STACK = 0, 1, 2


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ELEMENTWISE = _words("""
    abs add add_ alpha_dropout celu celu_ clamp clamp_ clamp_max clamp_min clip clone contiguous cos
    detach div div_ double dropout dropout_ elu elu_ erf exp exp_ float gelu half hardshrink
    hardsigmoid hardswish hardtanh hardtanh_ leaky_relu leaky_relu_ log log1p log_sigmoid logsigmoid
    maximum minimum mish mul mul_ neg ones_like pow reciprocal relu relu6 relu_ relu6_ rsqrt rsub
    selu selu_ sigmoid sigmoid_ sign silu sin softplus sqrt square sub sub_ tanh tanh_ threshold
    true_divide type where zeros_like __add__ __iadd__ __imul__ __mul__ __neg__ __pow__ __radd__
    __rmul__ __rsub__ __rtruediv__ __sub__ __truediv__
""")
# batch norm takes any number of axes after the second, the others any before the last
ANY_AXES = _words("batch_norm linear layer_norm rms_norm to type_as")
ON_CHANNELS = _words("cat concat concatenate chunk split tensor_split softmax unbind")
HARMLESS = _words("is_floating_point is_complex requires_grad_ dim_order is_contiguous")
LOCAL = _words("""
    conv2d conv_transpose2d max_pool2d max_pool2d_with_indices avg_pool2d lp_pool2d interpolate
    pixel_shuffle pixel_unshuffle unfold fold grid_sample fractional_max_pool2d
    fractional_max_pool2d_with_indices max_unpool2d roll flip
""")
# functions that a 3D rule says use neighbours
NEIGHBOURS: set[Callable[..., Any]] = set()
ADAPTIVE = _words("adaptive_avg_pool2d adaptive_max_pool2d adaptive_max_pool2d_with_indices")


def is_local(function: Callable[..., Any]) -> bool:
    """Whether a function uses neighbouring pixels."""
    return getattr(function, "__name__", "") in LOCAL or function in NEIGHBOURS


def name_of(function: Callable[..., Any]) -> str:
    """Return the name by which a function is called, such as F.conv2d."""
    name = getattr(function, "__name__", str(function))
    places = {"F": F, "torch": torch, "Tensor": Tensor}
    found = (at for at, place in places.items() if getattr(place, name, None) is function)
    return f"{next(found, 'F' if hasattr(F, name) else 'torch')}.{name}"


def kind_of(
    function: Any, args: Any, kwargs: Any, result: Any, before: list[tuple[int, ...]]
) -> int:
    name = getattr(function, "__name__", "")
    if name == "__get__" or name == "__set__":
        owner = getattr(getattr(function, "__self__", None), "__name__", "")
        return SPREAD if owner in ("shape", "ndim", "T", "mT") else NATIVE
    if name in HARMLESS or name in ANY_AXES:
        return NATIVE
    if is_local(function):
        return SPREAD if name == "conv2d" and _is_pointwise(args, kwargs) else STACK
    if name in ADAPTIVE:
        size = args[1] if len(args) > 1 else kwargs["output_size"]
        return SPREAD if pair(size if size is not None else 0) == (1, 1) else STACK
    shape = before[0]
    if max(map(len, before)) <= 2 and all(x.ndim <= 2 for x in tensors(result)):
        return NATIVE  # the output is no image
    spatial = len(shape) == 4
    grown = spatial and shape[2] * shape[3] > 1
    if name == "pad":
        pads = args[1] if len(args) > 1 else kwargs["pad"]
        return STACK if spatial and any(pads[:4]) else SPREAD
    if name == "__getitem__" and grown:
        return _of_index(args[1])
    if name in ("narrow", "select") and grown:
        dim = kwargs.get("dim", args[1] if len(args) > 1 else 0)
        return STACK if dim % 4 >= 2 else SPREAD
    if name in ELEMENTWISE:
        sized = [s for s in before if len(s) > 0]
        alike = all(len(s) == len(shape) and s[0] == shape[0] for s in sized)
        return NATIVE if alike else SPREAD
    if name in ON_CHANNELS and spatial:
        return _on_axis(name, args, kwargs)
    if name in ("flatten", "view", "reshape", "unflatten", "squeeze") and spatial:
        return _of_reshape(name, args, shape, result)
    return SPREAD


def window(name: str, args: Any, kwargs: Any) -> tuple[Any, Any, Any]:
    """Kernel, stride and dilation of a convolution or pool, each along (H, W)."""
    names = ["input", "kernel_size", "stride", "padding"]
    if name == "conv2d":
        names = ["input", "weight", "bias", "stride", "padding", "dilation", "groups"]
    given = dict(zip(names, args, strict=False)) | kwargs
    kernel = tuple(given["weight"].shape[-2:]) if name == "conv2d" else pair(given["kernel_size"])
    stride = given.get("stride") or (1 if name == "conv2d" else kernel)
    return kernel, pair(stride), pair(given.get("dilation", 1))


def _is_pointwise(args: Any, kwargs: Any) -> bool:
    kernel, stride, _ = window("conv2d", args, kwargs)
    padding = args[4] if len(args) > 4 else kwargs.get("padding", 0)
    return kernel == stride == (1, 1) and padding in (0, (0, 0), [0, 0], "valid", "same")


def _of_index(index: Any) -> int:
    indices = index if isinstance(index, tuple) else (index,)
    if any(isinstance(i, (Tensor, list)) or i is None for i in indices):
        return SPREAD
    index = every_axis(index)
    if any(i != slice(None) for i in index[2:4]):
        return STACK
    return NATIVE if all(isinstance(i, slice) for i in index) else SPREAD


def _on_axis(name: str, args: Any, kwargs: Any) -> int:
    place = 2 if name in ("split", "chunk", "tensor_split") else 1
    dim = kwargs.get("dim", kwargs.get("axis", args[place] if len(args) > place else 0))
    if name == "unbind" or not isinstance(dim, int):
        return SPREAD
    return NATIVE if dim in (0, 1) else SPREAD if name == "softmax" else STACK


def _of_reshape(name: str, args: Any, shape: tuple[int, ...], result: Any) -> int:
    if not isinstance(result, Tensor):
        return SPREAD
    new, (height, width) = tuple(result.shape), shape[2:]
    if height * width == 1:
        return NATIVE if name == "flatten" and new == shape[:2] else SPREAD
    if len(new) == 2 and new[0] == shape[0]:
        return STACK  # a head of a fixed image size
    channels_last = height * width in new or (height in new and width in new)
    return SPREAD if channels_last or new[-2:] == (height, width) else STACK
