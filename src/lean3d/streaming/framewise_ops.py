"""Functions that do not mix frames, for delayed networks; all others need a rule or are refused.

Axes: B batch, C channels, T time, H height, W width.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lean3d.streaming.timing import Timed
from lean3d.torch_functions import Trait, having

__all__ = ["CONDITIONS", "JOINS", "SAME_FRAMES", "keeps_frames"]

# (x, ...) -> the same axes; several input tensors must have the same frames
SAME_FRAMES = {
    *having(Trait.ONE_MAP),
    F.prelu,
    torch.prelu,
    Tensor.data.__get__,  # type: ignore[attr-defined]
}
# functions that return the size of a tensor
# several input maps, one output
JOINS = {*having(Trait.JOINS), operator.add, operator.mul}

Args = tuple[Any, ...]
Named = dict[str, Any]
Condition = Callable[[Args, Named, Timed], bool]


def argument(args: Args, named: Named, at: int, name: str) -> Any:
    """Return an argument given by position or by name; None if it is not given."""
    return args[at] if len(args) > at else named.get(name)


def channels_second(x: Timed) -> bool:
    """Whether axis 1, the channel axis of many functions, is neither streams nor frames."""
    return 1 not in (x.batch, x.axis)


def _norm(args: Args, named: Named, x: Timed) -> bool:
    """Batch norm by its running statistics."""
    return not argument(args, named, 5, "training") and channels_second(x)


def _drop(args: Args, named: Named, x: Timed) -> bool:
    return argument(args, named, 2, "training") is False


def _layer_norm(args: Args, named: Named, x: Timed) -> bool:
    first = args[0].ndim - len(argument(args, named, 1, "normalized_shape"))
    return first > max(x.batch, x.axis)


def _last_axis(args: Args, named: Named, x: Timed) -> bool:
    return args[0].ndim - 1 > max(x.batch, x.axis)


def _plane(args: Args, named: Named, x: Timed) -> bool:
    """Functions of the last three axes."""
    return args[0].ndim - 3 > max(x.batch, x.axis)


def _channels(args: Args, named: Named, x: Timed) -> bool:
    return channels_second(x)


def along(place: int, default: int | None = None) -> Condition:
    """Functions along one axis, the argument at `place`."""

    def condition(args: Args, named: Named, x: Timed) -> bool:
        dim = argument(args, named, place, "dim")
        dim = default if dim is None else dim
        return isinstance(dim, int) and dim % args[0].ndim not in (x.batch, x.axis)

    return condition


# functions that keep frames separate only with some arguments, or on some axes
CONDITIONS: dict[Callable, Condition] = {
    F.batch_norm: _norm,
    **dict.fromkeys((F.dropout, F.dropout2d, F.dropout3d, F.alpha_dropout), _drop),
    **dict.fromkeys((F.feature_alpha_dropout,), _drop),
    F.layer_norm: _layer_norm,
    F.linear: _last_axis,
    **dict.fromkeys((F.prelu, torch.prelu), _channels),
    **dict.fromkeys((F.channel_shuffle, torch.channel_shuffle), _channels),
    torch.native_channel_shuffle: _channels,
    **dict.fromkeys((F.pixel_shuffle, F.pixel_unshuffle), _plane),
    **dict.fromkeys((F.softmax, torch.softmax, Tensor.softmax), along(1)),
    **dict.fromkeys((F.log_softmax, torch.log_softmax, Tensor.log_softmax), along(1)),
    F.normalize: along(2, 1),
    F.glu: along(1, -1),
}


def keeps_frames(function: Callable, args: Args, named: Named, x: Timed) -> bool:
    """Whether a call treats every frame separately and returns as many, on the same axes."""
    asked = CONDITIONS.get(function)
    return function in SAME_FRAMES if asked is None else asked(args, named, x)
