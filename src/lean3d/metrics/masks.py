"""Scores of one class of one case: overlap, distances of surfaces, volume, lesions.

Sources: 95 % Hausdorff distance and surface Dice as in MONAI, the latter with the areas of surface
elements of Nikolov et al., Deep learning to achieve clinically applicable segmentation of head and
neck anatomy, JMIR 2021. Both directions of the Hausdorff distance have their own 95th percentile,
and the larger one counts.

Axes: D depth, H height, W width.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lean3d.errors import ShapeError
from lean3d.metrics.lesions import Lesions, match_lesions
from lean3d.optional import require

__all__ = ["MaskScores", "score_mask"]

PERCENTILE = 95


@dataclass(frozen=True)
class MaskScores:
    """Scores of a predicted mask against the true one.

    Args:
        both: Voxels in both masks (true positives).
        added: Voxels of the prediction alone (false positives).
        missed: Voxels of the truth alone (false negatives).
        dice: 2TP / (2TP + FP + FN); NaN if both masks are empty, 0 if one is.
        iou: TP / (TP + FP + FN); NaN and 0 as for Dice.
        hd95: 95 % Hausdorff distance, in the unit of the spacing; NaN if a mask is empty.
        surface_dice: Share of both surfaces that lies within the tolerance of the other one; NaN if
            both masks are empty, 0 if one is.
        true_volume: Of the true mask, in the cube of the unit of the spacing.
        volume: Of the prediction.
        lesions: Connected components, found and added.
    """

    both: int
    added: int
    missed: int
    dice: float
    iou: float
    hd95: float
    surface_dice: float
    true_volume: float
    volume: float
    lesions: Lesions

    @property
    def occurs(self) -> str:
        """Whether the class is in both masks, missed or added as a whole, or absent from both."""
        true, predicted = self.both + self.missed > 0, self.both + self.added > 0
        names = {(True, True): "both", (True, False): "missed", (False, True): "added"}
        return names.get((true, predicted), "absent")


def score_mask(
    pred: object,
    truth: object,
    spacing: Sequence[float],
    *,
    tolerance: float | None = None,
    lesion_iou: float = 0.0,
    surfaces: bool = True,
) -> MaskScores:
    """Score one mask; an axis of one voxel is left out, so that a slice is scored as an image.

    Args:
        spacing: Distance of voxels along each axis; its unit is that of all distances.
        tolerance: Of the surface Dice; by default the largest spacing, so one voxel.
        lesion_iou: A lesion is found if its intersection over union with the predicted components
            that touch it is above this (match_lesions).
        surfaces: Compute the distances of surfaces, which take most of the time; else NaN.

    Shape: two masks of one shape (D, H, W) or (H, W), true or non-zero inside.

    Raises:
        ShapeError: the shapes differ, or the spacing is not one positive length an axis.
    """
    pred, truth = _mask(pred), _mask(truth)
    step = _spacing(spacing, pred, truth)
    both, added, missed = (
        int(np.count_nonzero(part)) for part in (pred & truth, pred & ~truth, truth & ~pred)
    )
    voxel = math.prod(step)
    either = both + added + missed
    distance, surface = math.nan, math.nan if either == 0 else 0.0
    if not surfaces:
        surface = math.nan
    elif both + missed and both + added:
        distance, surface = _surfaces(pred, truth, step, tolerance)
    return MaskScores(
        both,
        added,
        missed,
        dice=2 * both / (both + either) if either else math.nan,
        iou=both / either if either else math.nan,
        hd95=distance,
        surface_dice=surface,
        true_volume=(both + missed) * voxel,
        volume=(both + added) * voxel,
        lesions=match_lesions(pred, truth, lesion_iou),
    )


def _surfaces(
    pred: np.ndarray, truth: np.ndarray, step: Sequence[float], tolerance: float | None
) -> tuple[float, float]:
    """Return the 95 % Hausdorff distance and the surface Dice of two masks that are not empty."""
    metrics = require("monai.metrics", extra="volume")
    # the box around both, and a voxel of background where a mask touches the border of the scan
    box = tuple(slice(places.min(), places.max() + 1) for places in np.nonzero(pred | truth))
    long = [axis for axis, size in enumerate(pred.shape) if size > 1]
    pair, kept = [np.pad(mask[box], 1) for mask in (pred, truth)], tuple(step)
    if 2 <= len(long) < pred.ndim:
        (thin,) = set(range(pred.ndim)) - set(long)
        pair = [mask.take(1, axis=thin) for mask in pair]
        kept = tuple(step[axis] for axis in long)
    x, y = (torch.from_numpy(np.ascontiguousarray(mask))[None, None].float() for mask in pair)
    limit = max(kept) if tolerance is None else tolerance
    settings: dict[str, Any] = dict(include_background=True, spacing=kept)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        distance = metrics.compute_hausdorff_distance(x, y, percentile=PERCENTILE, **settings)
        surface = metrics.compute_surface_dice(x, y, [limit], use_subvoxels=True, **settings)
    return distance.item(), surface.item()


def _mask(mask: object) -> np.ndarray:
    array = mask.detach().cpu().numpy() if isinstance(mask, torch.Tensor) else np.asarray(mask)
    return array != 0


def _spacing(spacing: Sequence[float], pred: np.ndarray, truth: np.ndarray) -> tuple[float, ...]:
    if pred.shape != truth.shape or pred.ndim not in (2, 3):
        raise ShapeError(
            f"score_mask takes two masks of one shape (D, H, W) or (H, W), got {pred.shape} and "
            f"{truth.shape}"
        )
    step = tuple(float(length) for length in spacing)
    if len(step) != pred.ndim or not all(0 < length < math.inf for length in step):
        raise ShapeError(
            f"score_mask takes one positive length an axis as spacing, got {tuple(spacing)} for "
            f"{pred.ndim} axes"
        )
    return step
