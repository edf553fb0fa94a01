"""The state of streams: a flat dict of tensors, batch first, that the caller keeps.

`t` (B,) counts the frames each stream has seen; the other keys are paths of modules and what those
keep. What a stream reads where `t` is 0 has no meaning, so a stream begins anew with its `t`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from lean3d.errors import ShapeError

__all__ = [
    "NEVER",
    "Layout",
    "Slot",
    "State",
    "StateBytes",
    "check_state",
    "chosen",
    "reset",
    "stack",
    "unbind",
]

State = dict[str, Tensor]
# the last frame of a stream that has not ended
NEVER = 2**62


@dataclass(frozen=True)
class Slot:
    """What one module keeps for one stream; `kind` is that of lean3d.ops.memory."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    kind: str

    @property
    def bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


Layout = dict[str, Slot]


@dataclass(frozen=True)
class StateBytes:
    """Bytes of state, by what they hold; `str()` is a table.

    Attributes:
        slots: Bytes of each key.
        kinds: What each key holds: "input", "map", "feature", "recurrent" or "clock".
    """

    slots: dict[str, int]
    kinds: dict[str, str]

    def _sum(self, *kinds: str) -> int:
        return sum(size for key, size in self.slots.items() if self.kinds[key] in kinds)

    @property
    def conv_state(self) -> int:
        """Past feature maps, which convolutions and pools inside the network keep."""
        return self._sum("map")

    @property
    def head_state(self) -> int:
        """Past features of a window head, or what a recurrent head carries on."""
        return self._sum("feature", "recurrent")

    @property
    def input_state(self) -> int:
        """Past frames of the video itself."""
        return self._sum("input")

    @property
    def cache(self) -> int:
        """What D3D, Table 4, calls cache: past maps and past features, nothing else."""
        return self._sum("map", "feature")

    @property
    def total(self) -> int:
        return sum(self.slots.values())

    def __str__(self) -> str:
        width = max(map(len, self.slots))
        rows = [f"{key:{width}}  {n:>12,}  {self.kinds[key]}" for key, n in self.slots.items()]
        return "\n".join([*rows, f"{'total':{width}}  {self.total:>12,}"])


def stack(states: Sequence[Mapping[str, Tensor]]) -> State:
    """One state for all streams of several states, in order.

    Raises:
        ShapeError: they are not states of one model and frame size.
    """
    if not states:
        raise ShapeError("stack joins states, got none")
    keys = max((list(state) for state in states), key=len)
    whole = next((state for state in states if list(state) == keys), {})
    for number, state in enumerate(states):
        blank = set(state) <= {"t", "end"} and not state["t"].any()
        fits = all(state[key].shape[1:] == whole[key].shape[1:] for key in state if key in whole)
        if not fits or (list(state) != keys and not blank):
            raise ShapeError(
                f"stack joins states of one model and one frame size; state {number} is of another"
            )

    def rows(state: Mapping[str, Tensor], key: str) -> Tensor:
        # a state made without a frame size has no caches yet
        blank = whole[key][:1].expand(len(state["t"]), *whole[key].shape[1:])
        return state[key] if key in state else torch.zeros_like(blank)

    return {key: torch.cat([rows(state, key) for state in states]) for key in keys}


def unbind(state: Mapping[str, Tensor]) -> list[State]:
    """One state for each stream of a state."""
    streams = range(len(state["t"]))
    return [{key: value[i : i + 1] for key, value in state.items()} for i in streams]


def reset(state: Mapping[str, Tensor], which: Sequence[int] | Tensor | None = None) -> State:
    """Let streams (all by default) begin anew: their numbers, or a bool for each stream.

    Raises:
        ShapeError: a stream is not there.
    """
    asked = chosen(which, state["t"], "reset")

    def blank(key: str, value: Tensor) -> Tensor:
        mask = asked.view(-1, *[1] * (value.ndim - 1))
        return value.masked_fill(mask, NEVER if key == "end" else 0)

    return {key: blank(key, value) for key, value in state.items()}


def chosen(which: Sequence[int] | Tensor | None, seen_B: Tensor, who: str) -> Tensor:
    """(B,) bool, from numbers of streams, a bool for each, or None for all."""
    batch = len(seen_B)
    if which is None:
        return torch.ones_like(seen_B, dtype=torch.bool)
    asked = torch.as_tensor(which, device=seen_B.device)
    if asked.dtype == torch.bool:
        if asked.shape != (batch,):
            raise ShapeError(f"{who} takes {batch} bools, one a stream, got {tuple(asked.shape)}")
        return asked
    if asked.numel() and not -1 < int(asked.min()) <= int(asked.max()) < batch:
        raise ShapeError(f"{who} takes streams 0 to {batch - 1}, got {asked.tolist()}")
    none = torch.zeros(batch, dtype=torch.bool, device=asked.device)
    return none.index_fill(0, asked.long(), True)


def check_state(state: Mapping[str, Tensor], layout: Layout, batch: int) -> None:
    """Raise ShapeError unless `state` is one of `layout`, for `batch` streams."""
    if state.keys() != layout.keys():
        odd = sorted(state.keys() ^ layout.keys())[0]
        which = "lacks" if odd in layout else "has"
        raise ShapeError(f"the state is of another model: it {which} {odd!r}; make one with init()")
    for key, slot in layout.items():
        got = tuple(state[key].shape)
        if got[:1] != (batch,):
            raise ShapeError(
                f"the step got {batch} frames for {got[0] if got else 0} streams ({key!r} is "
                f"{got}); give one frame a stream, or stack, unbind or init states"
            )
        if got[1:] != slot.shape:
            raise ShapeError(
                f"the state is for frames of another size: {key!r} holds {got[1:]} a stream, these "
                f"frames need {slot.shape}; resize the frames, or begin with init()"
            )
        if state[key].dtype != slot.dtype:
            raise ShapeError(
                f"the state holds {state[key].dtype} in {key!r}, the model needs {slot.dtype}"
            )
