"""Measure how many frames an output depends on, by a clip whose first frame is NaN.

Axes: B batch, C channels, T time, H height, W width.
"""

from bisect import bisect_left
from typing import Any

import torch
from torch import Tensor

from lean3d.streaming.probe import maps_of, random_clip

__all__ = ["receptive_field"]

LENGTHS = (64, 256)


@torch.no_grad()
def receptive_field(live: Any) -> float:
    """Return the frames up to the last output that the first frame reaches; infinite beyond 256."""
    if set(live.found.run_axes) == {None}:
        return _of_last_answers(live)
    for length in LENGTHS:
        spoiled_T = torch.zeros(length // live.chunk, dtype=torch.bool)
        for y_BT in maps_of(live.run(_spoiled_clip(live, length))):
            spoiled_T |= y_BT.isnan().transpose(0, 1).flatten(1).any(1).cpu()
        if not spoiled_T[-1]:
            return live.chunk * (int(spoiled_T.nonzero().max()) + 1)
    return torch.inf


def _of_last_answers(live: Any) -> float:
    """The same for a model with an output for its last frame alone, so one per pass over a clip."""
    clip_BCTHW = _spoiled_clip(live, LENGTHS[-1])

    def clean(frames: int) -> bool:
        answers = maps_of(live.model(clip_BCTHW[:, :, :frames]))
        return not any(bool(y.isnan().any()) for y in answers)

    lengths = range(live.chunk, LENGTHS[-1] + 1, live.chunk)
    if not clean(lengths[-1]):
        return torch.inf
    return live.chunk * bisect_left(lengths, True, key=clean)


def _spoiled_clip(live: Any, length: int) -> Tensor:
    clip_BCTHW = random_clip(live.model, live.found.frame, length)
    clip_BCTHW[:, :, 0] = torch.nan
    return clip_BCTHW
