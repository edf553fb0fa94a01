"""Metrics of outputs."""

from lean3d.metrics.classes import class_scores, interval_of_scores
from lean3d.metrics.instances import (
    InstanceScores,
    OverlapTable,
    instance_scores,
    overlap_table,
)
from lean3d.metrics.intervals import Difference, Interval, bootstrap_interval, compare_pairs
from lean3d.metrics.lesions import Lesions, match_lesions
from lean3d.metrics.masks import MaskScores, score_mask
from lean3d.metrics.overlap import confusion_counts, dice_of_counts, iou_of_counts
from lean3d.metrics.probes import linear_probe
from lean3d.metrics.retrieval import JUNK, Retrieval, retrieval_scores
from lean3d.metrics.units import Unit, unit_of
from lean3d.metrics.verification import Verification, best_threshold, verification_scores

__all__ = [
    "JUNK",
    "Difference",
    "InstanceScores",
    "Interval",
    "Lesions",
    "MaskScores",
    "OverlapTable",
    "Retrieval",
    "Unit",
    "Verification",
    "best_threshold",
    "bootstrap_interval",
    "class_scores",
    "compare_pairs",
    "confusion_counts",
    "dice_of_counts",
    "instance_scores",
    "interval_of_scores",
    "iou_of_counts",
    "linear_probe",
    "match_lesions",
    "overlap_table",
    "retrieval_scores",
    "score_mask",
    "unit_of",
    "verification_scores",
]
