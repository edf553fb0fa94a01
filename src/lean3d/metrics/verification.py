"""Scores of pairs that show one person, or two, by a threshold on their distance.

Source: Wolf et al., Face Recognition in Unconstrained Videos with Matched Background Similarity
(YouTube Faces), CVPR 2011, Sec 3; Huang et al., Labeled Faces in the Wild, 2007: the threshold of a
fold is that of the best accuracy on all others.

Axes: P pairs, F folds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lean3d.errors import DataError, ShapeError

__all__ = ["Verification", "best_threshold", "verification_scores"]


@dataclass(frozen=True)
class Verification:
    """Accuracies of the folds.

    Args:
        folds: Their numbers, (F,).
        accuracy: Share of right pairs of each fold, (F,).
        threshold: Distance up to which a pair of a fold is taken for one person, (F,).
        right: Whether each pair is right, (P,).
        margin: How far each pair is on the right side of the threshold, (P,).
    """

    folds: np.ndarray
    accuracy: np.ndarray
    threshold: np.ndarray
    right: np.ndarray
    margin: np.ndarray

    @property
    def mean(self) -> float:
        """Return the mean accuracy over the folds."""
        return float(self.accuracy.mean())

    @property
    def standard_error(self) -> float:
        """Return the standard error of the mean: the deviation (n - 1) over the root of F."""
        return float(self.accuracy.std(ddof=1) / np.sqrt(len(self.folds)))


def verification_scores(
    distance: Sequence[float], same: Sequence[bool], fold: Sequence[int]
) -> Verification:
    """Decide each pair by the threshold that is best on the pairs of all other folds.

    Raises:
        ShapeError: the numbers of distances, truths and folds differ.
        DataError: there are fewer than two folds.
    """
    distance_P, same_P = np.asarray(distance, dtype=float), np.asarray(same, dtype=bool)
    fold_P = np.asarray(fold)
    if not distance_P.shape == same_P.shape == fold_P.shape or distance_P.ndim != 1:
        raise ShapeError(
            f"verification_scores expects as many distances as truths and folds, got "
            f"{distance_P.shape}, {same_P.shape} and {fold_P.shape}"
        )
    folds = np.unique(fold_P)
    if len(folds) < 2:
        raise DataError(f"pairs are in two folds or more, got {len(folds)}")
    limits = np.array([best_threshold(distance_P[fold_P != f], same_P[fold_P != f]) for f in folds])
    limit_P = limits[np.searchsorted(folds, fold_P)]
    right_P = (distance_P <= limit_P) == same_P
    margin_P = np.where(same_P, limit_P - distance_P, distance_P - limit_P)
    accuracy = np.array([right_P[fold_P == f].mean() for f in folds])
    return Verification(folds, accuracy, limits, right_P, margin_P)


def best_threshold(distance: np.ndarray, same: np.ndarray) -> float:
    """Return the distance up to which pairs are best taken for one person.

    It lies halfway between two neighbours, or at the end; of equally good ones it is the lowest.
    """
    order = np.argsort(distance, kind="stable")
    sorted_P, same_P = distance[order], same[order]
    # right pairs if the first k are taken for one person
    right = np.concatenate([[0], np.cumsum(same_P)])
    right = right + np.concatenate([np.cumsum(~same_P[::-1])[::-1], [0]])
    between = np.concatenate([[True], sorted_P[1:] > sorted_P[:-1], [True]])
    k = int(np.argmax(np.where(between, right, -1)))
    if k in (0, len(sorted_P)):
        return float(np.nextafter(sorted_P[0], -np.inf) if k == 0 else sorted_P[-1])
    return float((sorted_P[k - 1] + sorted_P[k]) / 2)
