"""Preprocess pixels of a video for a model: cropped to a square, resized, normalised.

Mean and standard deviation are those used to train video models on Kinetics.

Axes: C channels, H height, W width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["cut_frame", "fit_frame", "normalise_pixels"]

MEAN, STD = 0.45, 0.225


def normalise_pixels(pixels: Tensor) -> Tensor:
    """Normalise floats from 0 to 1 for the models: (x - 0.45) / 0.225."""
    return (pixels - MEAN) / STD


def fit_frame(pixels_HWC: Tensor, size: tuple[int, int]) -> Tensor:
    """`cut_frame`, normalised."""
    return normalise_pixels(cut_frame(pixels_HWC, size))


def cut_frame(pixels_HWC: Tensor, size: tuple[int, int]) -> Tensor:
    """Crop the largest centre of the model's aspect ratio, resized, from 0 to 1.

    Args:
        size: Height and width of the model's input.

    Shape: (H, W, 3) uint8 -> (3, height, width) float32
    """
    high, wide = pixels_HWC.shape[:2]
    height, width = size
    part = min(high / height, wide / width)
    rows, columns = max(round(part * height), 1), max(round(part * width), 1)
    top, left = (high - rows) // 2, (wide - columns) // 2
    middle = pixels_HWC[top : top + rows, left : left + columns]
    x_1CHW = middle.permute(2, 0, 1).unsqueeze(0).to(torch.float32) / 255
    if (rows, columns) != (height, width):
        x_1CHW = F.interpolate(x_1CHW, size, mode="bilinear", antialias=True, align_corners=False)
    return x_1CHW[0]
