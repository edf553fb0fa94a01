"""How many frames an answer depends on, by asking a clip whose first frame is NaN.

Axes: B batch, C channels, T time, H height, W width.
"""

from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from lean3d.stream.survey import random_clip

__all__ = ["receptive_field"]

LENGTHS = (64, 256)


@torch.no_grad()
def receptive_field(live: Any) -> float:
    """Frames up to the last answer that the first frame reaches; infinite beyond 256."""
    for length in LENGTHS:
        clip_BCTHW = random_clip(live.model, live.found.frame, length)
        clip_BCTHW[:, :, 0] = torch.nan
        spoiled_T = torch.zeros(length // live.chunk, dtype=torch.bool)
        for y_BT in tree_leaves(live.run(clip_BCTHW)):
            spoiled_T |= y_BT.isnan().transpose(0, 1).flatten(1).any(1).cpu()
        if not spoiled_T[-1]:
            return live.chunk * (int(spoiled_T.nonzero().max()) + 1)
    return torch.inf
