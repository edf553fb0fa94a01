"""What torch's functions do to maps, in one table: the conversion and the streams read it.

What a function becomes on volumes or in a stream is a rule, and elsewhere.

Axes: B batch, C channels, then any number of axes of positions.
"""

from collections.abc import Callable
from enum import Flag, auto

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "CONCATENATES",
    "NOTHING",
    "RESHAPE_CALLS",
    "SIZES",
    "TRAITS",
    "Trait",
    "having",
    "name_of",
]

Function = Callable[..., object]
PLACES = {"F": F, "torch": torch, "Tensor": Tensor, "torch._C._nn": torch._C._nn}


# one function by its several names
CONCATENATES = {torch.cat, torch.concat, torch.concatenate}
RESHAPE_CALLS = {torch.reshape, Tensor.reshape, Tensor.view}
SIZES = {Tensor.shape.__get__, Tensor.size}  # type: ignore[attr-defined]


class Trait(Flag):
    """What holds for every call of a function."""

    POINTWISE = auto()  # a value depends on those at its own position alone
    ONE_MAP = auto()  # of one map, whose axes it keeps
    JOINS = auto()  # of several maps, whose sizes must agree
    ADDS = auto()  # a sum of maps, as at the end of a residual block
    ACTIVATES = auto()  # an activation or dropout, which may come between two convolutions
    ANY_AXES = auto()  # of the channels or the last axis, with any number of axes in between
    ALONG_AXIS = auto()  # of one axis, its argument `dim`
    ASKS = auto()  # says what a tensor is, and makes none
    NEIGHBOURS = auto()  # a value depends on neighbouring positions
    WINDOW = auto()  # slides a window over the plane
    RESAMPLES = auto()  # may change the size of the plane
    ADAPTIVE = auto()  # pools the plane to a given size
    MIXES_CHANNELS = auto()  # its output has other channels than its input
    AVERAGES = auto()  # a mean: of the axes, the window or to the size that it is given
    CLIP_WINDOW = auto()  # slides a window over time
    CUTS = auto()  # takes a part along one axis
    RESHAPES = auto()  # joins or parts axes


NOTHING = Trait(0)
TRAITS: dict[Function, Trait] = {}


def _declare(names: str, traits: Trait) -> None:
    """Add traits to the functions of these names, wherever torch has one."""
    for name in names.split():
        found = [getattr(place, name, None) for place in PLACES.values()]
        functions = {function for function in found if callable(function)}
        assert functions, f"torch has no function {name}"
        for function in functions:
            TRAITS[function] = TRAITS.get(function, NOTHING) | traits


_P, _ONE, _JOIN = Trait.POINTWISE, Trait.ONE_MAP, Trait.JOINS
_declare("relu relu_ leaky_relu gelu silu hardswish relu6", _P | _ONE | Trait.ACTIVATES)
_declare(
    """
    abs bfloat16 bitwise_not ceil celu celu_ clamp clamp_ clamp_max clamp_min clip clone contiguous
    cos detach double elu elu_ erf exp exp_ expm1 float floor half hardshrink hardsigmoid hardtanh
    hardtanh_ __invert__ isfinite isinf isnan leaky_relu_ log log1p log_sigmoid logical_not
    logsigmoid mish nan_to_num __neg__ neg ones_like __pow__ pow reciprocal relu6_ round rsqrt selu
    selu_ sigmoid sigmoid_ sign sin softplus softsign sqrt square tanh tanh_ tanhshrink threshold
    trunc zeros_like
    """,
    _P | _ONE,
)
_declare("alpha_dropout dropout_ type", _P)
_declare("dropout", _P | Trait.ACTIVATES)
_declare("add add_ __add__ __iadd__ __radd__", _P | _JOIN | Trait.ADDS)
_declare(
    """
    addcmul __and__ bitwise_and bitwise_or div div_ eq ge gt __imul__ __isub__ __itruediv__ le lerp
    logical_and logical_or lt masked_fill masked_fill_ maximum minimum __mul__ mul mul_ ne __or__
    __rdiv__ __rmul__ __rsub__ rsub __rtruediv__ __sub__ sub sub_ true_divide __truediv__ where
    """,
    _P | _JOIN,
)
_declare("to type_as", Trait.ANY_AXES | _ONE)
# batch norm takes any number of axes after the second, the others any before the last
_declare("batch_norm layer_norm rms_norm", Trait.ANY_AXES)
_declare("linear", Trait.ANY_AXES | Trait.MIXES_CHANNELS)
_declare("cat concat concatenate chunk split tensor_split softmax unbind", Trait.ALONG_AXIS)
_declare("is_floating_point is_complex requires_grad_ dim_order is_contiguous", Trait.ASKS)
_NEAR = Trait.NEIGHBOURS
_declare("conv2d", _NEAR | Trait.WINDOW | Trait.RESAMPLES | Trait.MIXES_CHANNELS)
_declare("max_pool2d avg_pool2d lp_pool2d", _NEAR | Trait.WINDOW | Trait.RESAMPLES)
_declare("conv_transpose2d", _NEAR | Trait.RESAMPLES | Trait.MIXES_CHANNELS)
_declare("interpolate pixel_shuffle pixel_unshuffle", _NEAR | Trait.RESAMPLES)
_declare(
    """
    max_pool2d_with_indices unfold fold grid_sample fractional_max_pool2d max_unpool2d roll flip
    fractional_max_pool2d_with_indices
    """,
    _NEAR,
)
_declare("pad __getitem__", Trait.RESAMPLES)
_declare("adaptive_avg_pool2d", Trait.ADAPTIVE | Trait.AVERAGES)
_declare("adaptive_max_pool2d adaptive_max_pool2d_with_indices", Trait.ADAPTIVE)
_declare("mean adaptive_avg_pool1d adaptive_avg_pool3d", Trait.AVERAGES)
_declare("avg_pool1d avg_pool3d", Trait.AVERAGES | Trait.CLIP_WINDOW)
_declare("conv1d conv3d matmul __matmul__ mm bmm addmm baddbmm einsum", Trait.MIXES_CHANNELS)
_declare("narrow select", Trait.CUTS)
_declare("flatten view reshape unflatten squeeze", Trait.RESHAPES)


def having(trait: Trait) -> frozenset[Function]:
    """Return the functions that have a trait."""
    return frozenset(function for function, traits in TRAITS.items() if traits & trait)


def name_of(function: Function) -> str:
    """Return the name by which a function is called, such as F.conv2d."""
    name = getattr(function, "__name__", str(function))
    found = (at for at, place in PLACES.items() if getattr(place, name, None) is function)
    return f"{next(found, 'torch')}.{name}"
