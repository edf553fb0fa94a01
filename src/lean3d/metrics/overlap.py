"""Dice and intersection over union of label maps, from one count of label pairs.

The counts of several volumes add up: summing them first and dividing once gives the global scores
(ACS Tables 4 and 5, "Dice Global"); scoring each volume and averaging gives those per case.

Axes: K classes, class 0 the background.
"""

import torch
from torch import Tensor

from lean3d.errors import DataError, ShapeError

__all__ = ["confusion_counts", "dice_of_counts", "iou_of_counts"]


def confusion_counts(pred: Tensor, target: Tensor, num_classes: int) -> Tensor:
    """Count the voxels of each true class (rows) by predicted class (columns).

    Shape: two label maps of one shape, any number of axes -> (K, K), int64.

    Raises:
        ShapeError: the two have different shapes.
        DataError: a label is not a whole number in 0 ... num_classes - 1.
    """
    if pred.shape != target.shape:
        raise ShapeError(
            f"the prediction is {tuple(pred.shape)} and the truth {tuple(target.shape)}; scores "
            "need label maps of one shape (logits need argmax over the class axis first)"
        )
    labels = [_labels(pred, "prediction", num_classes), _labels(target, "truth", num_classes)]
    pairs = labels[1] * num_classes + labels[0]
    return torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)


def dice_of_counts(counts_KK: Tensor) -> Tensor:
    """2TP / (2TP + FP + FN) of each class; NaN for a class in neither map."""
    both, either = _overlap(counts_KK)
    return 2 * both / either


def iou_of_counts(counts_KK: Tensor) -> Tensor:
    """TP / (TP + FP + FN) of each class; NaN for a class in neither map."""
    both, either = _overlap(counts_KK)
    return both / (either - both)


def _overlap(counts_KK: Tensor) -> tuple[Tensor, Tensor]:
    counts_KK = counts_KK.double()
    return counts_KK.diagonal(), counts_KK.sum(0) + counts_KK.sum(1)


def _labels(labels: Tensor, name: str, num_classes: int) -> Tensor:
    whole = labels.reshape(-1).long()
    if whole.numel() == 0:
        return whole
    if labels.is_floating_point() and not torch.equal(whole.to(labels.dtype), labels.reshape(-1)):
        raise DataError(
            f"the {name} holds values that are not whole numbers; scores need label maps "
            "(probabilities need argmax or a threshold first)"
        )
    low, high = (int(value) for value in whole.aminmax())
    if low < 0 or high >= num_classes:
        raise DataError(
            f"the {name} holds labels from {low} to {high}, expected 0 to {num_classes - 1} for "
            f"{num_classes} classes"
        )
    return whole
