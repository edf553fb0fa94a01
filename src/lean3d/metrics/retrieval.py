"""Scores of a search for the same person: cumulative matching, average precision.

Source: Zheng et al., MARS: A Video Benchmark for Large-Scale Person Re-identification, ECCV 2016,
and the data set's own evaluation (liangzheng06/MARS-evaluation), whose average precision is the
area under the precision-recall curve by trapezoids.

Axes: Q queries, G gallery.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lean3d.errors import ShapeError

__all__ = ["JUNK", "Retrieval", "retrieval_scores"]

# the identity of boxes that show no person well: they are neither right nor wrong
JUNK = -1


@dataclass(frozen=True)
class Retrieval:
    """The scores of every query; NaN for one without a right entry in the gallery.

    Args:
        average_precision: Area under the precision-recall curve by trapezoids, (Q,).
        precision_at_hits: Mean of the precision at each right entry, as most later code has it,
            (Q,).
        first: Rank of the first right entry, from 1, (Q,).
        right: Number of right entries, (Q,).
    """

    average_precision: np.ndarray
    precision_at_hits: np.ndarray
    first: np.ndarray
    right: np.ndarray

    def rank(self, k: int) -> float:
        """Return the share of queries with a right entry among the first k (CMC)."""
        known = self.first[np.isfinite(self.first)]
        return float(np.mean(known <= k)) if len(known) else np.nan

    @property
    def mean_average_precision(self) -> float:
        """Return the mean over the queries that have a right entry (mAP)."""
        known = self.average_precision[np.isfinite(self.average_precision)]
        return float(known.mean()) if len(known) else np.nan


def retrieval_scores(
    distance_QG: np.ndarray,
    query_persons: Sequence[int],
    gallery_persons: Sequence[int],
    query_cameras: Sequence[int] | None = None,
    gallery_cameras: Sequence[int] | None = None,
    own: Sequence[int] | None = None,
) -> Retrieval:
    """Rank the gallery for every query, the nearest first; equal distances in gallery order.

    Entries of the query's person and camera are left out of its ranking, and so are those of the
    person JUNK. Distractors are entries of a person that no query shows: they are wrong.

    Args:
        query_cameras, gallery_cameras: Numbers of cameras from 0; a negative one is unknown, and
            equal to none.
        own: The place of each query itself in the gallery, which is left out too; -1 for none.

    Raises:
        ShapeError: the numbers of queries, or of entries, differ.
    """
    distance_QG = np.asarray(distance_QG, dtype=float)
    num = len(query_persons), len(gallery_persons)
    if distance_QG.shape != num:
        raise ShapeError(
            f"retrieval_scores expects distances (Q, G) = {num}, got {distance_QG.shape}"
        )
    cameras = [
        np.full(n, -1) if given is None else np.asarray(given)
        for n, given in zip(num, (query_cameras, gallery_cameras), strict=True)
    ]
    owns = np.full(num[0], -1) if own is None else np.asarray(own)
    if (len(cameras[0]), len(cameras[1]), len(owns)) != (*num, num[0]):
        raise ShapeError(f"retrieval_scores expects a camera for each of {num} entries")
    persons_G = np.asarray(gallery_persons)
    found = np.full((4, num[0]), np.nan)
    for q, person in enumerate(query_persons):
        same_G = persons_G == person
        left_out_G = persons_G == JUNK
        left_out_G |= same_G & (cameras[1] == cameras[0][q]) & (cameras[1] >= 0)
        if owns[q] >= 0:
            left_out_G[owns[q]] = True
        order = np.argsort(distance_QG[q], kind="stable")
        hits = np.flatnonzero(same_G[order][~left_out_G[order]]) + 1
        found[3, q] = len(hits)
        if len(hits):
            found[:3, q] = *_precisions(hits), hits[0]
    return Retrieval(found[0], found[1], found[2], found[3].astype(int))


def _precisions(hits: np.ndarray) -> tuple[float, float]:
    """Return the average precision by trapezoids, and the mean precision at the hits.

    Args:
        hits: Ranks of the right entries, from 1.
    """
    count = np.arange(1, len(hits) + 1)
    at = count / hits
    # of the entry before; recall rises at hits alone
    before = np.where(hits > 1, (count - 1) / np.maximum(hits - 1, 1), 1.0)
    return float(np.mean((at + before) / 2)), float(at.mean())
