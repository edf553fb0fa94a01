"""Motion blur: each frame is the mean of itself moved along a line (D3D, Sec 4.5).

The paper says that it is used and not how strong it is; here the line is 3 to 9 pixels long, at
any angle.

Axes: C channels, T time, H height, W width.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["motion_blur"]

SHORTEST, LONGEST = 3, 9


def motion_blur(clip_CTHW: Tensor, draw: np.random.Generator) -> Tensor:
    """Return the clip, all frames blurred along one random line; the border is repeated."""
    length = int(draw.integers(SHORTEST, LONGEST + 1))
    kernel = line(length, float(draw.uniform(0, math.pi)))
    side = kernel.shape[0] // 2
    planes = clip_CTHW.flatten(0, 1).unsqueeze(1)
    padded = F.pad(planes, (side,) * 4, mode="replicate")
    return F.conv2d(padded, kernel[None, None].to(planes)).view_as(clip_CTHW)


def line(length: int, angle: float) -> Tensor:
    """Return a kernel of a line through its middle, of odd sides and sum 1."""
    side = length // 2
    kernel = torch.zeros(2 * side + 1, 2 * side + 1)
    for step in np.linspace(-side, side, 4 * length):
        kernel[side + round(step * math.sin(angle)), side + round(step * math.cos(angle))] += 1
    return kernel / kernel.sum()
