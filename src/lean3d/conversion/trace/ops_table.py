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
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from lean3d.conversion.to3d.geometry import every_axis, pair
from lean3d.conversion.trace.compare import tensors
from lean3d.torch_functions import Trait, having

__all__ = ["NATIVE", "NEIGHBOURS", "SPREAD", "STACK", "kind_of", "window"]

NATIVE, SPREAD, STACK = 0, 1, 2
Args: TypeAlias = tuple[Any, ...]
Kwargs: TypeAlias = dict[str, Any]
Pair: TypeAlias = tuple[Any, Any]

ASKING, ANY_AXES, POINTWISE = map(having, (Trait.ASKS, Trait.ANY_AXES, Trait.POINTWISE))
ALONG_AXIS, ADAPTIVE, CUTS = map(having, (Trait.ALONG_AXIS, Trait.ADAPTIVE, Trait.CUTS))
RESHAPING = having(Trait.RESHAPES)
# those of the table, and those of which a 3D rule says so
NEIGHBOURS = set(having(Trait.NEIGHBOURS))


def kind_of(
    function: Callable[..., Any],
    args: Args,
    kwargs: Kwargs,
    result: object,
    before: list[tuple[int, ...]],
) -> int:
    """Return what a call asks of the forward that contains it: NATIVE, SPREAD or STACK.

    Args:
        before: Shapes of its tensors before the call, which may change them in place.
    """
    name = getattr(function, "__name__", "")
    if name == "__get__" or name == "__set__":
        owner = getattr(getattr(function, "__self__", None), "__name__", "")
        return SPREAD if owner in ("shape", "ndim", "T", "mT") else NATIVE
    if function in ASKING or function in ANY_AXES:
        return NATIVE
    if function in NEIGHBOURS:
        return SPREAD if function is F.conv2d and _is_pointwise(args, kwargs) else STACK
    if function in ADAPTIVE:
        size = args[1] if len(args) > 1 else kwargs["output_size"]
        return SPREAD if pair(size if size is not None else 0) == (1, 1) else STACK
    shape = before[0]
    if max(map(len, before)) <= 2 and all(x.ndim <= 2 for x in tensors(result)):
        return NATIVE  # the output is no image
    spatial = len(shape) == 4
    grown = spatial and shape[2] * shape[3] > 1
    if function is F.pad:
        pads = args[1] if len(args) > 1 else kwargs["pad"]
        return STACK if spatial and any(pads[:4]) else SPREAD
    if function is Tensor.__getitem__ and grown:
        return _of_index(args[1])
    if function in CUTS and grown:
        dim: Any = kwargs.get("dim", args[1] if len(args) > 1 else 0)
        return STACK if dim % 4 >= 2 else SPREAD
    if function in POINTWISE:
        sized = [s for s in before if len(s) > 0]
        alike = all(len(s) == len(shape) and s[0] == shape[0] for s in sized)
        return NATIVE if alike else SPREAD
    if function in ALONG_AXIS and spatial:
        return _on_axis(name, args, kwargs)
    if function in RESHAPING and spatial:
        return _of_reshape(name, shape, result)
    return SPREAD


def window(function: Callable[..., Any], args: Args, kwargs: Kwargs) -> tuple[Pair, Pair, Pair]:
    """Kernel, stride and dilation of a convolution or pool, each along (H, W)."""
    names = ["input", "kernel_size", "stride", "padding"]
    names += ["dilation"] if function in (torch.max_pool2d, F.max_pool2d) else []
    convolves = function is F.conv2d
    if convolves:
        names = ["input", "weight", "bias", "stride", "padding", "dilation", "groups"]
    elif function is F.lp_pool2d:
        names = ["input", "norm_type", "kernel_size", "stride"]
    given: Kwargs = dict(zip(names, args, strict=False)) | kwargs
    kernel = tuple(given["weight"].shape[-2:]) if convolves else pair(given["kernel_size"])
    stride = given.get("stride") or (1 if convolves else kernel)
    return kernel, pair(stride), pair(given.get("dilation", 1))


def _is_pointwise(args: Args, kwargs: Kwargs) -> bool:
    kernel, stride, _ = window(F.conv2d, args, kwargs)
    padding = args[4] if len(args) > 4 else kwargs.get("padding", 0)
    return kernel == stride == (1, 1) and padding in (0, (0, 0), [0, 0], "valid", "same")


def _of_index(index: object) -> int:
    indices = index if isinstance(index, tuple) else (index,)
    if any(isinstance(i, (Tensor, list)) or i is None for i in indices):
        return SPREAD
    index = every_axis(index)
    if any(i != slice(None) for i in index[2:4]):
        return STACK
    return NATIVE if all(isinstance(i, slice) for i in index) else SPREAD


def _on_axis(name: str, args: Args, kwargs: Kwargs) -> int:
    place = 2 if name in ("split", "chunk", "tensor_split") else 1
    dim = kwargs.get("dim", kwargs.get("axis", args[place] if len(args) > place else 0))
    if name == "unbind" or not isinstance(dim, int):
        return SPREAD
    return NATIVE if dim in (0, 1) else SPREAD if name == "softmax" else STACK


def _of_reshape(name: str, shape: tuple[int, ...], result: object) -> int:
    if not isinstance(result, Tensor):
        return SPREAD
    new, (height, width) = tuple(result.shape), shape[2:]
    if height * width == 1:
        return NATIVE if name == "flatten" and new == shape[:2] else SPREAD
    if len(new) == 2 and new[0] == shape[0]:
        return STACK  # a head of a fixed image size
    channels_last = height * width in new or (height in new and width in new)
    return SPREAD if channels_last or new[-2:] == (height, width) else STACK
