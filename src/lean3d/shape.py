"""Axis names and the checks of sizes shared by all parts of the package.

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Proxy

from lean3d.errors import ShapeError
from lean3d.typed import fits, shortened

__all__ = ["Triple", "check_axes", "same_padding", "sizes", "triple"]

Triple = tuple[int, int, int]


def triple(value: Any, name: str = "value") -> Triple:
    """Repeat an int as (depth, height, width); return a sequence of three as a tuple.

    Raises:
        ShapeError: it is neither an int nor three of them.
    """
    # fast path: torch.nn calls it at every call
    if type(value) is int:
        return (value, value, value)
    if type(value) is tuple and [type(item) for item in value] == [int] * 3:
        return value
    items = tuple(value) if isinstance(value, Sequence) else (value,) * 3
    if not fits(items, Triple):
        got = shortened(value)
        raise ShapeError(f"{name} must be an int or (depth, height, width), got {got}")
    depth, height, width = items
    return (int(depth), int(height), int(width))


def sizes(x: Tensor) -> tuple[int, ...]:
    """Return the sizes of `x`; plain integers also while torch.jit.trace records tensors."""
    if not torch.jit.is_tracing():
        return x.shape
    recorder = torch._C._get_tracing_state()
    torch._C._set_tracing_state(None)  # type: ignore[attr-defined]
    try:
        return x.shape
    finally:
        torch._C._set_tracing_state(recorder)  # type: ignore[attr-defined]


def check_axes(x: Tensor, axes: str, owner: object) -> None:
    """Raise ShapeError unless `x` has the axes of a pattern such as "B C=16 D H W"."""
    if isinstance(x, Proxy):  # torch.fx traces it, and it has no sizes yet
        return
    names = axes.split()
    if not isinstance(x, Tensor):
        who = getattr(owner, "__name__", type(owner).__name__)
        raise ShapeError(f"{who} takes a tensor ({', '.join(names)}), got {shortened(x)}")
    if x.ndim != len(names):
        why = f"it has {x.ndim} axes, not {len(names)}"
        why += f"; add {_lacking(x, names[1])}" if (x.ndim, len(names)) == (4, 5) else ""
    else:
        sized = zip(names, sizes(x), strict=True)
        pairs = [(*name.partition("=")[::2], size) for name, size in sized]
        wrong = [pair for pair in pairs if pair[1] and int(pair[1]) != pair[2]]
        if not wrong:
            return
        why = "axis {0} is {2}, not {1}".format(*wrong[0])
    who = getattr(owner, "__name__", type(owner).__name__)
    raise ShapeError(f"{who} takes ({', '.join(names)}), got {tuple(sizes(x))}: {why}")


def _lacking(x: Tensor, channels: str) -> str:
    """Return the remedy for a tensor of four axes, by its channel axis."""
    depth, batch = "depth with x.unsqueeze(2)", "a batch with x.unsqueeze(0)"
    first, second = (channels.endswith(f"={size}") for size in sizes(x)[:2])
    if first == second:
        return f"{depth}, or {batch}"
    return batch if first else depth


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Return (before, after) that make ceil(size / stride) outputs, as TensorFlow's "same" does."""
    total = (-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size
    total = max(total, 0)
    return (total // 2, total - total // 2)
