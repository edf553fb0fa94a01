"""Videos of handwritten digits, drawn in batches on any device.

The pose of a digit is (x, y, angle, log of its size): the shorter side of the frame is 2, its
middle 0, opposite edges are joined, and x points right, y down, as in lean3d.data.motions.

Axes: N videos, T time, H height, W width, h, w the digit's.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["draw_ink", "paint_grey"]


def draw_ink(image_Nhw: Tensor, pose_NT4: Tensor, height: int, width: int) -> Tensor:
    """The ink in each pixel, (N, T, H, W) from 0 to 1: every digit at each of its poses."""
    videos, frames = pose_NT4.shape[:2]
    device, short = pose_NT4.device, min(height, width)
    high, wide = 2 * height / short, 2 * width / short
    y_H1 = ((2 * torch.arange(height, device=device) + 1 - height) / short)[:, None]
    x_W = (2 * torch.arange(width, device=device) + 1 - width) / short
    x, y, angle, log_size = pose_NT4.float()[..., None, None].unbind(2)
    # from the digit to the pixel, by the shorter way across the edges
    dx_NTHW = (x_W - x + wide / 2).remainder(wide) - wide / 2
    dy_NTHW = (y_H1 - y + high / 2).remainder(high) - high / 2
    cos, sin = angle.cos() / log_size.exp(), angle.sin() / log_size.exp()
    grid = torch.stack([cos * dx_NTHW + sin * dy_NTHW, cos * dy_NTHW - sin * dx_NTHW], -1)
    images = image_Nhw[:, None].expand(-1, frames, -1, -1).flatten(0, 1)[:, None]
    ink = F.grid_sample(images, grid.flatten(0, 1), align_corners=False)
    return ink.view(videos, frames, height, width)


def paint_grey(ink_NTHW: Tensor, noise: float, random: torch.Generator, block: int = 1) -> Tensor:
    """Light digits on dark, mottled grounds, with noise: (N, 1, T, H, W), of mean 0 or so.

    Args:
        noise: Its deviation, on pixels from 0 to 1.
        random: On the ink's device.
        block: Pixels along a side that share their noise, so that their mean has as much.
    """
    videos, frames, height, width = ink_NTHW.shape

    def between(low: float, high: float, *size: int) -> Tensor:
        share = torch.rand(videos, *size, generator=random, device=ink_NTHW.device)
        return low + (high - low) * share

    mottle = F.interpolate(between(-0.1, 0.1, 1, 6, 8), (height, width), mode="bilinear")
    ground = between(0.1, 0.4, 1, 1, 1) + mottle
    light = between(0.6, 1.0, 1, 1, 1)
    pixels = ground + ink_NTHW * (light - ground)
    size = (videos, frames, -(-height // block), -(-width // block))
    grain = torch.randn(size, generator=random, device=pixels.device)
    grain = grain.repeat_interleave(block, 2).repeat_interleave(block, 3)
    pixels += noise * grain[:, :, :height, :width]
    return ((pixels.clamp(0, 1) - 0.45) / 0.225)[:, None]
