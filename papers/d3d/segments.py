"""Accuracy by part of a video.

Paper: Köpüklü et al., Dissected 3D CNNs (D3D), arXiv:2009.14639, Fig 7

Axes: N videos, T time, K classes, F features.
"""

import torch
from torch import Tensor

from lean3d.errors import ShapeError

__all__ = ["accuracy_by_segment", "erase_middle"]


def accuracy_by_segment(scores_NTK: Tensor, label_N: Tensor, parts: int = 10) -> list[float]:
    """Share of videos classified correctly by the mean score in each of `parts` equal parts.

    Args:
        scores_NTK: One output per frame; probabilities, so that all frames count alike.

    Raises:
        ShapeError: there are fewer frames than parts.
    """
    frames = scores_NTK.shape[1]
    if not 1 <= parts <= frames:
        raise ShapeError(f"a video of {frames} frames cannot be cut into {parts} parts")
    pieces = scores_NTK.tensor_split(parts, dim=1)
    right = [(piece.mean(1).argmax(1) == label_N).float().mean() for piece in pieces]
    return torch.stack(right).tolist()


def erase_middle(features_NTF: Tensor, share: float, seed: int = 0) -> Tensor:
    """Return a copy with a middle share of the frames replaced by Gaussian noise of equal strength.

    Mean and deviation are those of each feature over all videos.
    """
    if not 0 <= share <= 1:
        raise ShapeError(f"erase_middle takes a share from 0 to 1, got {share}")
    frames = features_NTF.shape[1]
    num = round(share * frames)
    first = (frames - num) // 2
    mean, spread = features_NTF.mean((0, 1)), features_NTF.std((0, 1))
    draw = torch.Generator().manual_seed(seed)
    shape = (len(features_NTF), num, features_NTF.shape[2])
    erased = features_NTF.clone()
    noise = torch.randn(shape, generator=draw).to(erased)
    erased[:, first : first + num] = mean + spread * noise
    return erased
