"""The state of streams: a flat dict of tensors, batch first, that the caller keeps.

`t` (B,) counts the frames of each stream; the other keys are paths of modules, with their state.
State is ignored where `t` is 0; setting `t` to 0 resets a stream.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lean3d.errors import ShapeError
from lean3d.table import lay_out

__all__ = [
    "NEVER",
    "Layout",
    "Slot",
    "State",
    "StateBytes",
    "check_clock",
    "chosen",
    "reset",
    "stack",
    "unbind",
]

State = dict[str, Tensor]
# the last frame of a stream that has not ended: larger than any real one, and small enough that
# a map with thousands of frames for each video frame counts its own in 64 bits
NEVER = 2**48


@dataclass(frozen=True)
class Slot:
    """The state of one module for one stream; `kind` is that of lean3d.ops.memory."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    kind: str

    @property
    def bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


Layout = dict[str, Slot]


@dataclass(frozen=True)
class StateBytes:
    """Bytes of state, by kind; `str()` is a table.

    Attributes:
        slots: Bytes of each key.
        kinds: The kind of each key: "input", "map", "feature", "recurrent" or "clock".
    """

    slots: dict[str, int]
    kinds: dict[str, str]

    def _sum(self, *kinds: str) -> int:
        return sum(size for key, size in self.slots.items() if self.kinds[key] in kinds)

    @property
    def conv_state(self) -> int:
        """Past feature maps, kept by convolutions and pools inside the network."""
        return self._sum("map")

    @property
    def head_state(self) -> int:
        """Past features of a window head, or the state of a recurrent head."""
        return self._sum("feature", "recurrent")

    @property
    def input_state(self) -> int:
        """Past frames of the video itself."""
        return self._sum("input")

    @property
    def cache(self) -> int:
        """The cache of D3D, Table 4: past maps and past features, nothing else."""
        return self._sum("map", "feature")

    @property
    def total(self) -> int:
        return sum(self.slots.values())

    def __str__(self) -> str:
        sizes = ["bytes", *(f"{size:,}" for size in self.slots.values()), f"{self.total:,}"]
        kinds = ["kind", *(self.kinds[key] for key in self.slots), ""]
        return lay_out([["slot", *self.slots, "total"], sizes, kinds], right=[1], total=True)


def stack(states: Sequence[Mapping[str, Tensor]]) -> State:
    """Join the streams of several states into one state, in order.

    Raises:
        ShapeError: they are not states of one model and frame size.
    """
    if isinstance(states, Mapping) or not len(states):
        got = "one state, not a list" if states else "none"
        raise ShapeError(f"stack joins states, got {got}")
    for state in states:
        check_clock(state, "stack")
    keys = max((list(state) for state in states), key=len)
    whole = next((state for state in states if list(state) == keys), {})
    for number, state in enumerate(states):
        blank = set(state) <= {"t", "end"} and not state["t"].any()
        fits = all(alike(state[key], whole[key]) for key in state if key in whole)
        if not fits or (list(state) != keys and not blank):
            raise ShapeError(
                f"stack joins states of one model and one frame size; state {number} is of another"
            )

    def rows(state: Mapping[str, Tensor], key: str) -> Tensor:
        # a state made without a frame size has no caches yet
        blank = whole[key][:1].expand(len(state["t"]), *whole[key].shape[1:])
        return state[key] if key in state else torch.zeros_like(blank)

    return {key: torch.cat([rows(state, key) for state in states]) for key in keys}


def alike(one: Tensor, other: Tensor) -> bool:
    """Whether the streams of two states fit in one tensor."""
    return (one.shape[1:], one.dtype, one.device) == (other.shape[1:], other.dtype, other.device)


def unbind(state: Mapping[str, Tensor]) -> list[State]:
    """Split a state into one state per stream."""
    streams = range(len(check_clock(state, "unbind")))
    return [{key: value[i : i + 1] for key, value in state.items()} for i in streams]


def reset(state: Mapping[str, Tensor], which: Sequence[int] | Tensor | None = None) -> State:
    """Reset streams (all by default): their indices, or a bool for each stream.

    Raises:
        ShapeError: there is no such stream.
    """
    asked = chosen(which, check_clock(state, "reset"), "reset")

    def blank(key: str, value: Tensor) -> Tensor:
        mask = asked.view(-1, *[1] * (value.ndim - 1))
        return value.masked_fill(mask, NEVER if key == "end" else 0)

    return {key: blank(key, value) for key, value in state.items()}


def chosen(which: Sequence[int] | Tensor | None, seen_B: Tensor, who: str) -> Tensor:
    """Return (B,) bool, from indices of streams, a bool for each, or None for all."""
    batch = len(seen_B)
    if which is None:
        return torch.ones_like(seen_B, dtype=torch.bool)
    asked = whole_numbers(which, seen_B.device)
    if asked is None:
        raise ShapeError(
            f"{who} takes numbers of streams, 0 to {batch - 1}, or {batch} bools, got "
            f"{short(which)}"
        )
    if asked.dtype == torch.bool:
        if asked.shape != (batch,):
            raise ShapeError(f"{who} takes {batch} bools, one a stream, got {tuple(asked.shape)}")
        return asked
    if asked.numel() and not -1 < int(asked.min()) <= int(asked.max()) < batch:
        raise ShapeError(f"{who} takes streams 0 to {batch - 1}, got {short(asked.tolist())}")
    none = torch.zeros(batch, dtype=torch.bool, device=asked.device)
    return none.index_fill(0, asked, True)


def whole_numbers(which: Any, device: torch.device) -> Tensor | None:
    """Return bools unchanged or int64, with one axis; None for anything else."""
    if not isinstance(which, Tensor):
        try:
            listed = [which] if isinstance(which, int) else list(which)
            # True equals 1 in Python: a list holds only bools, or none
            kinds = {isinstance(value, (bool, np.bool_)) for value in listed}
            which = torch.as_tensor(listed) if listed else torch.zeros(0, dtype=torch.int64)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            return None
        if len(kinds) > 1:
            return None
    if which.ndim > 1 or which.is_floating_point() or which.is_complex() or which.is_quantized:
        return None
    which = which.to(device)
    return which if which.dtype == torch.bool else which.reshape(-1).long()


def short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."


def check_clock(state: object, who: str, needed: Sequence[str] = ()) -> Tensor:
    """Return the `t` of a state, whose length is its number of streams.

    Args:
        needed: Further clocks that it must have; "end" is that of a delayed network.

    Raises:
        ShapeError: it is no state.
    """
    if not isinstance(state, Mapping):
        raise ShapeError(f"{who} takes the state init() made, got {type(state).__name__}")
    seen = state.get("t")
    if not isinstance(seen, Tensor) or seen.dtype != torch.int64 or seen.ndim != 1 or not len(seen):
        raise ShapeError(
            f"{who} takes the state init() made, whose 't' is an int64 tensor (B,), got "
            f"{described(seen)}"
        )
    if seen.is_meta:
        raise ShapeError(f"{who} takes a state with values, 't' is on the meta device without any")
    for key, value in state.items():
        dense = isinstance(value, Tensor) and value.layout == torch.strided
        if not dense or value.shape[:1] != seen.shape:
            raise ShapeError(
                f"{who} takes a state, {len(seen)} streams here by its 't', but {key!r} is "
                f"{described(value)}"
            )
        if value.device != seen.device:
            raise ShapeError(
                f"{who} takes a state on one device, but {key!r} is on {value.device} and 't' on "
                f"{seen.device}; move it whole"
            )
    for key in needed:
        value = state.get(key)
        if not isinstance(value, Tensor) or value.dtype != seen.dtype or value.shape != seen.shape:
            raise ShapeError(
                f"{who} takes the state init() made, whose {key!r} is an int64 tensor (B,), got "
                f"{described(value)}"
            )
    return seen


def described(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} {tuple(value.shape)}"
    return "nothing" if value is None else type(value).__name__
