"""GRU, LSTM and plain recurrent layers over frames, in a step of a delayed network.

Axes: B batch (streams), T time, F features, L layers.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lean3d.streaming.delayed_step import Frames, Rule, frames_of, marked
from lean3d.streaming.pooling import seen
from lean3d.streaming.timing import Pooled

__all__ = ["RECURRENT"]

KEPT = ("hidden", "cell")


def recurrent(function: Callable[..., Any]) -> Rule:
    def rule(
        step: Frames,
        x: Tensor,
        start: Any,
        weights: object,
        biases: bool,
        layers: int,
        *more: object,
    ) -> Any:
        *_, both_ways, batch_first = more
        given: Any = frames_of(x)
        if both_ways:
            step.refuse(function, "runs backwards in time (bidirectional=True)")
        if given.place != ((0, 1, 1) if batch_first else (1, 0, 1)) or x.ndim != 3:
            step.refuse(function, "runs along another axis than time")
        starts = [start] if isinstance(start, Tensor) else list(start)
        if any(frames_of(h_LBF) for h_LBF in starts):
            step.refuse(function, "starts from a state that was computed from frames")
        first_B = step.clock.before(given)
        _, outside_BT = seen(step, x.movedim(given.axis, 2), given)
        slots = [step.site(what) for what in KEPT[: len(starts)]]
        state = [
            torch.where(
                (first_B <= 0)[:, None],
                h_LBF,
                step.memory.read(slot, h_LBF.transpose(0, 1)).transpose(0, 1),
            )
            for slot, h_LBF in zip(slots, starts, strict=True)
        ]

        def run(part: Tensor) -> tuple[Tensor, list[Tensor]]:
            hidden = state[0] if isinstance(start, Tensor) else state
            output, *after = function(part.contiguous(), hidden, weights, biases, layers, *more)
            return output, after

        if step.clock.all_inside(given):
            output, state = run(x)
        else:
            outputs = []
            for place, part in enumerate(x.split(1, given.axis)):
                y, after = run(part)
                # frames outside of the video leave the state unchanged
                off = outside_BT[:, place, None]
                state = [torch.where(off, old, new) for old, new in zip(state, after, strict=True)]
                outputs.append(y)
            output = torch.cat(outputs, given.axis)
        for slot, h_LBF in zip(slots, state, strict=True):
            step.memory.write(slot, h_LBF.transpose(0, 1).contiguous(), "recurrent")
        ends = Pooled(step.clock.late(given), torch.inf, 1)
        maps = marked(output, replace(given, field=torch.inf))
        return (maps, *[marked(h_LBF, ends) for h_LBF in state])

    return rule


RECURRENT: dict[Any, Rule] = {
    function: recurrent(function)
    for function in (torch.gru, torch.lstm, torch.rnn_tanh, torch.rnn_relu)
}
