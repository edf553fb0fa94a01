"""Metrics of outputs."""

from lean3d.metrics.auc import feature_mauc
from lean3d.metrics.intervals import Difference, Interval, bootstrap_interval, compare_pairs
from lean3d.metrics.lesions import Lesions, match_lesions
from lean3d.metrics.masks import MaskScores, score_mask
from lean3d.metrics.overlap import (
    confusion_counts,
    dice_of_counts,
    dice_per_class,
    iou_of_counts,
    iou_per_class,
    mean_dice,
    mean_iou,
)
from lean3d.metrics.segments import accuracy_by_segment, erase_middle

__all__ = [
    "Difference",
    "Interval",
    "Lesions",
    "MaskScores",
    "accuracy_by_segment",
    "bootstrap_interval",
    "compare_pairs",
    "confusion_counts",
    "dice_of_counts",
    "dice_per_class",
    "erase_middle",
    "feature_mauc",
    "iou_of_counts",
    "iou_per_class",
    "match_lesions",
    "mean_dice",
    "mean_iou",
    "score_mask",
]
