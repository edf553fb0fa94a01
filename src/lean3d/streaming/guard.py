"""Checks of a step: the state comes from a step, and the model is in eval mode.

Axes: B batch (streams).
"""

import weakref
from collections.abc import Mapping
from itertools import count
from typing import Any

from torch import Tensor, nn

from lean3d.errors import LeanError, ShapeError
from lean3d.streaming.state import Layout

__all__ = ["Made", "check_state", "check_training", "check_values"]


class Made:
    """Tensors returned by steps and unchanged since: they are not checked again.

    So a state from elsewhere is checked once, and a running stream has no cost. Tensors are
    held weakly.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[Tensor], int, int]] = {}
        self._steps = count()

    def note(self, state: Mapping[str, Tensor]) -> None:
        step = next(self._steps)
        for x in state.values():
            key = id(x)
            gone = lambda _, key=key: self._known.pop(key, None)  # noqa: E731
            self._known[key] = weakref.ref(x, gone), version(x), step

    def __contains__(self, x: Tensor) -> bool:
        held = self._known.get(id(x))
        return held is not None and held[0]() is x and held[1] == version(x)

    def all_of(self, state: object) -> bool:
        """Whether it is a state of such tensors, possibly of another size.

        Raises:
            LeanError: they are of different states.
        """
        if not isinstance(state, dict):
            return False
        ours = {key: x for key, x in state.items() if x in self}
        # a step returns `end` as it is
        steps = {key: self._known[id(x)][2] for key, x in ours.items() if key != "end"}
        if len(set(steps.values())) > 1:
            first = next(iter(steps))
            other = next(key for key, step in steps.items() if step != steps[first])
            raise LeanError(
                f"the state cannot be used: {first!r} and {other!r} are of two different steps; "
                "pass the whole state that one step returned"
            )
        return len(ours) == len(state)

    def __reduce__(self) -> Any:
        # a copy, or another process, has returned no tensors yet
        return Made, ()


def version(x: Tensor) -> int:
    """Return the count of in-place changes; 0 for inference tensors."""
    return 0 if x.is_inference() else x._version


def check_state(state: Mapping[str, Tensor], layout: Layout, batch: int, device: object) -> None:
    """Raise ShapeError unless `state` is one of `layout`, for `batch` streams."""
    if state.keys() != layout.keys():
        odd = min(state.keys() ^ layout.keys(), key=str)
        which = "lacks" if odd in layout else "has"
        raise ShapeError(f"the state is of another model: it {which} {odd!r}; make one with init()")
    for key, slot in layout.items():
        if not isinstance(state[key], Tensor):
            raise ShapeError(
                f"the state holds a {type(state[key]).__name__} in {key!r}, not a tensor; make one "
                "with init()"
            )
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
        if state[key].device != device:
            raise ShapeError(
                f"the state holds {key!r} on {state[key].device}, the model is on {device}; move it"
            )


def check_values(state: Mapping[str, Tensor], made: Made, chunk: int) -> None:
    """Refuse NaN, and times that no stream can have, in tensors that no step returned.

    Raises:
        LeanError: names the key and the streams.
    """
    for key, x in state.items():
        if x in made:
            continue
        if key in ("t", "end"):
            wrong = x < 0 if key == "end" else (x < 0) | (x % chunk != 0)
            expected = f"frames, a multiple of {chunk}" if chunk > 1 else "frames"
            what = f"is not a count of {expected}"
        elif x.is_floating_point():
            wrong = x.reshape(len(x), -1).isnan().any(1)
            what = "holds NaN"
        else:
            wrong, what = x.reshape(len(x), -1).lt(0).any(1), "holds a negative count"
        if bool(wrong.any()):
            raise LeanError(
                f"the state cannot be used: {key!r} {what} in stream {numbers(wrong)}; reset those "
                "streams, or load a state that step() returned"
            )


def numbers(flags_B: Tensor) -> str:
    """Name the affected streams, few enough to read."""
    found = flags_B.nonzero().flatten().tolist()
    more = f" and {len(found) - 8} more" if len(found) > 8 else ""
    return ", ".join(map(str, found[:8])) + more


def check_training(modules: Mapping[nn.Module, str], who: str) -> None:
    """Refuse a model in training mode, whose step would change its running statistics."""
    for module, path in modules.items():
        if module.training:
            raise LeanError(
                f"{who} needs a model in eval mode, call model.eval() first "
                f"({path or type(module).__name__} is in training mode)"
            )
