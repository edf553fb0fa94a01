"""Lesions found: connected components of the truth that the prediction overlaps.

Source: as in LiTS (Bilic et al., The Liver Tumor Segmentation Benchmark, Medical Image Analysis 84,
2023), a lesion is compared with all predicted components that touch it together. There a lesion
counts as found from an intersection over union of 0.5; the default here is any overlap.
"""

from dataclasses import dataclass

import numpy as np

from lean3d.optional import require

__all__ = ["Lesions", "match_lesions"]


@dataclass(frozen=True)
class Lesions:
    """Connected components of a class.

    Args:
        true: Lesions of the truth.
        found: Of them, those that are found.
        added: Predicted components that belong to no lesion that was found.
    """

    true: int
    found: int
    added: int


def match_lesions(pred: np.ndarray, truth: np.ndarray, min_iou: float = 0.0) -> Lesions:
    """Match the components of two masks; voxels that share a corner are one component.

    Args:
        min_iou: A lesion is found if its intersection over union with the predicted components
            that touch it is above this.

    Shape: two boolean masks of one shape.
    """
    ndimage = require("scipy.ndimage", extra="volume")
    corners = np.ones((3,) * truth.ndim, dtype=bool)
    truths, num_true = ndimage.label(truth, corners)
    preds, num_pred = ndimage.label(pred, corners)
    # voxels of each pair of a lesion (row) and a predicted component (column); 0 is background
    either = (truths > 0) | (preds > 0)
    pairs = truths[either].astype(np.int64) * (num_pred + 1) + preds[either]
    keys, counts = np.unique(pairs, return_counts=True)
    rows, columns = np.divmod(keys, num_pred + 1)
    sizes_true = np.bincount(rows, counts, num_true + 1)
    sizes_pred = np.bincount(columns, counts, num_pred + 1)
    found, kept = 0, set()
    inside = (rows > 0) & (columns > 0)
    for lesion in np.unique(rows[inside]):
        touch = inside & (rows == lesion)
        both = counts[touch].sum()
        union = sizes_true[lesion] + sizes_pred[columns[touch]].sum() - both
        if both / union > min_iou:
            found += 1
            kept.update(columns[touch].tolist())
    return Lesions(int(num_true), found, int(num_pred) - len(kept))
