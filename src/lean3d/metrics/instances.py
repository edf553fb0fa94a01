"""Scores of a segmentation into instances, all from one table of overlaps.

Papers: Meilă, Comparing clusterings (variation of information), J. Multivariate Analysis 98, 2007;
Arganda-Carreras et al., Crowdsourcing the creation of image segmentation algorithms for
connectomics (the ISBI 2012 challenge), Frontiers in Neuroanatomy 9, 2015

Tables of parts of a volume add up, so a volume is scored block by block, and a table of fragments
gives the score of every merge of them (`OverlapTable.merged`) without the volume.

Axes: any; P pairs of labels that overlap.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lean3d.errors import DataError, ShapeError

__all__ = ["InstanceScores", "OverlapTable", "instance_scores", "overlap_table"]

Zeros = Literal["segment", "singletons", "ignored"]


@dataclass(frozen=True)
class InstanceScores:
    """Errors and scores of a segmentation against the truth.

    Attributes:
        vi_split: H(segmentation | truth) in bits: what was split; lower is better.
        vi_merge: H(truth | segmentation) in bits: what was merged; lower is better.
        arand: Adapted Rand error, 1 - rand_f.
        rand_split: Probability that two voxels of one true instance are in one segment.
        rand_merge: Probability that two voxels of one segment are of one true instance.
        rand_f: Their harmonic mean, the V-Rand score of the ISBI 2012 challenge.
        info_split: Mutual information in units of the segmentation's entropy.
        info_merge: Mutual information in units of the truth's entropy.
        info_f: Their harmonic mean, the V-Info score of the ISBI 2012 challenge.
    """

    vi_split: float
    vi_merge: float
    arand: float
    rand_split: float
    rand_merge: float
    rand_f: float
    info_split: float
    info_merge: float
    info_f: float

    @property
    def vi(self) -> float:
        """Variation of information, split and merge together."""
        return self.vi_split + self.vi_merge


@dataclass(frozen=True, eq=False)
class OverlapTable:
    """Voxels of each pair of a segment and a true instance that overlap.

    Shape: segment (P,), truth (P,), voxels (P,), int64 or uint64.
    """

    segment: np.ndarray
    truth: np.ndarray
    voxels: np.ndarray

    @staticmethod
    def total(tables: Iterable["OverlapTable"]) -> "OverlapTable":
        """Return the sum of tables of different parts of a volume."""
        parts = list(tables)
        if not parts:
            raise DataError("OverlapTable.total got no tables; give at least one")
        columns = [[getattr(p, n) for p in parts] for n in ("segment", "truth", "voxels")]
        return _grouped(*(np.concatenate(column) for column in columns))

    def merged(self, lookup: np.ndarray) -> "OverlapTable":
        """Return the table of the segmentation `lookup[segment]`."""
        return _grouped(np.asarray(lookup)[self.segment], self.truth, self.voxels)

    def scores(
        self, *, ignored: tuple[int, ...] = (0,), zeros: Zeros = "segment"
    ) -> InstanceScores:
        """Score the voxels whose true label is not ignored.

        Args:
            ignored: True labels that are left out; (0,) restricts to the foreground, as CREMI and
                the ISBI challenge do. Negative labels, which are unlabelled, are always left out.
            zeros: What segment 0 is: a segment, one segment per voxel ("singletons", as the SNEMI3D
                and CREMI scripts count it), or left out.

        Raises:
            DataError: no voxel is left.
        """
        kept = ~np.isin(self.truth, np.array(ignored, dtype=self.truth.dtype)) & (self.truth >= 0)
        if zeros == "ignored":
            kept &= self.segment != 0
        elif zeros not in ("segment", "singletons"):
            raise DataError(f"zeros is segment, singletons or ignored, got {zeros!r}")
        if not self.voxels[kept].sum():
            raise DataError("there is no labelled voxel to score; check the labels")
        joint = self.voxels[kept].astype(np.float64)
        alone = (self.segment[kept] == 0) & (zeros == "singletons")
        return _scores(joint, self.segment[kept], self.truth[kept], alone)


def overlap_table(segment: np.ndarray, truth: np.ndarray) -> OverlapTable:
    """Count the voxels of every pair of labels that overlap.

    Shape: two label volumes of one shape, whole numbers -> a table of P pairs.

    Raises:
        ShapeError: the two have different shapes.
    """
    segment, truth = np.asarray(segment), np.asarray(truth)
    if segment.shape != truth.shape:
        raise ShapeError(
            f"the segmentation is {segment.shape} and the truth {truth.shape}; scores need label "
            "volumes of one shape"
        )
    for name, labels in (("segmentation", segment), ("truth", truth)):
        if labels.dtype.kind not in "iub":
            raise DataError(f"the {name} holds {labels.dtype}; scores need whole numbers")
    # unsigned labels above 2^63 are the negative numbers that mark what is unlabelled
    flat = segment.ravel().astype(np.int64), truth.ravel().astype(np.int64)
    return _grouped(*flat, np.ones(segment.size, np.int64))


def instance_scores(
    segment: np.ndarray,
    truth: np.ndarray,
    *,
    ignored: tuple[int, ...] = (0,),
    zeros: Zeros = "segment",
) -> InstanceScores:
    """Score a segmentation against the truth; arguments as `OverlapTable.scores` takes them.

    Shape: two label volumes of one shape.
    """
    return overlap_table(segment, truth).scores(ignored=ignored, zeros=zeros)


def _grouped(segment: np.ndarray, truth: np.ndarray, voxels: np.ndarray) -> OverlapTable:
    """Add up the voxels of equal pairs."""
    order = np.lexsort((truth, segment))
    segment, truth, voxels = segment[order], truth[order], voxels[order]
    new = np.ones(len(segment), bool)
    new[1:] = (segment[1:] != segment[:-1]) | (truth[1:] != truth[:-1])
    first = np.flatnonzero(new)
    sums = np.add.reduceat(voxels, first) if len(first) else voxels
    return OverlapTable(segment[first], truth[first], sums)


def _scores(
    joint: np.ndarray, segment: np.ndarray, truth: np.ndarray, alone: np.ndarray
) -> InstanceScores:
    """Score pairs; those `alone` are as many segments as voxels."""
    total = joint.sum()
    of_truth = np.bincount(np.unique(truth, return_inverse=True)[1], joint) / total
    together = ~alone
    if together.any():
        inverse = np.unique(segment[together], return_inverse=True)[1]
        of_segment = np.bincount(inverse, joint[together]) / total
    else:
        of_segment = np.zeros(0)
    p = joint[together] / total
    singles = joint[alone].sum()
    # each single voxel has the probability 1 / total
    squares = (p**2).sum() + singles / total**2
    segment_squares = (of_segment**2).sum() + singles / total**2
    single_entropy = singles / total * np.log2(total)
    joint_entropy = _entropy(p) + single_entropy
    segment_entropy, truth_entropy = _entropy(of_segment) + single_entropy, _entropy(of_truth)
    shared = segment_entropy + truth_entropy - joint_entropy
    rand = float(squares / (of_truth**2).sum()), float(squares / segment_squares)
    info = _share(shared, segment_entropy), _share(shared, truth_entropy)
    rand_f = _harmonic(*rand)
    return InstanceScores(
        max(0.0, float(joint_entropy - truth_entropy)),
        max(0.0, float(joint_entropy - segment_entropy)),
        1 - rand_f,
        *rand,
        rand_f,
        *info,
        _harmonic(*info),
    )


def _entropy(p: np.ndarray) -> float:
    p = p[p > 0]
    return float(-(p * np.log2(p)).sum())


def _share(shared: float, whole: float) -> float:
    # a single segment has no entropy, and nothing is lost
    return min(1.0, max(0.0, float(shared / whole))) if whole > 0 else 1.0


def _harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b > 0 else 0.0
