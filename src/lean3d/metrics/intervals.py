"""Uncertainty over cases: bootstrap intervals of a score, and paired tests of two networks.

Sources: the percentile bootstrap of Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
over cases (not voxels, which are not independent); the Wilcoxon signed-rank test.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lean3d.errors import DataError
from lean3d.optional import require

__all__ = ["Difference", "Interval", "bootstrap_interval", "compare_pairs"]

RESAMPLES, SEED, LEVEL = 2000, 0, 0.95

Statistic = Callable[..., np.ndarray]


@dataclass(frozen=True)
class Interval:
    """A score and its 95 % interval; low and high are NaN for fewer than two cases."""

    value: float
    low: float
    high: float
    num: int

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Difference:
    """Scores of two networks on the same cases.

    Args:
        mean: Mean difference, first minus second.
        low: Lower end of its 95 % bootstrap interval.
        high: Upper end.
        p: Of the Wilcoxon signed-rank test, two-sided; 1 if no case differs.
        num: Cases with both scores.
        better: Cases in which the first score is the higher one.
        worse: Cases in which it is the lower one.
    """

    mean: float
    low: float
    high: float
    p: float
    num: int
    better: int
    worse: int


def bootstrap_interval(
    values: Sequence[float] | np.ndarray | Sequence[Sequence[float]],
    statistic: Statistic = np.mean,
    *,
    pooled: bool = False,
) -> Interval:
    """Return a statistic over cases and the interval of its values on resampled cases.

    The resampling is seeded: the same values give the same interval.

    Args:
        values: One value a case; cases that are NaN are left out. With `pooled`, several sequences
            of one value a case, which are resampled together.
        statistic: Called with arrays whose last axis is that of the cases, and axis=-1.

    Raises:
        DataError: there is no case, or several kinds of values differ in their number.
    """
    columns = [np.asarray(column, dtype=float) for column in (values if pooled else [values])]
    if len({len(column) for column in columns}) > 1:
        raise DataError("bootstrap_interval takes as many values of every kind as there are cases")
    known = np.all([np.isfinite(column) for column in columns], axis=0)
    columns = [column[known] for column in columns]
    num = int(known.sum())
    if num == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    value = float(statistic(*columns, axis=-1))
    if num == 1:
        return Interval(value, math.nan, math.nan, 1)
    found = (
        require("scipy.stats", extra="volume")
        .bootstrap(
            columns,
            statistic,
            paired=True,
            vectorized=True,
            n_resamples=RESAMPLES,
            confidence_level=LEVEL,
            method="percentile",
            rng=np.random.default_rng(SEED),
        )
        .confidence_interval
    )
    return Interval(value, float(found.low), float(found.high), num)


def compare_pairs(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Compare the scores of two networks on the same cases, in the same order.

    Cases that have no score for one of the networks (NaN) are left out.

    Raises:
        DataError: the two have different numbers of cases.
    """
    if len(first) != len(second):
        raise DataError(
            f"compare_pairs takes the same cases twice, got {len(first)} and {len(second)} scores"
        )
    pairs = np.array([first, second], dtype=float).reshape(2, -1)
    apart = pairs[0] - pairs[1]
    apart = apart[np.isfinite(apart)]
    interval = bootstrap_interval(apart)
    p = math.nan
    if len(apart):
        stats = require("scipy.stats", extra="volume")
        p = float(stats.wilcoxon(apart).pvalue) if apart.any() else 1.0
    better, worse = int((apart > 0).sum()), int((apart < 0).sum())
    return Difference(interval.value, interval.low, interval.high, p, len(apart), better, worse)
