"""Compare two runs on the same cases, score by score."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lean3d.metrics import compare_pairs

if TYPE_CHECKING:
    from lean3d.recipes.evaluation.base import Evaluation, Scored

__all__ = ["compare_runs"]


def compare_runs(
    evaluation: "Evaluation", scored: Mapping[str, "Scored"], others: Mapping[str, "Scored"]
) -> list[dict[str, Any]]:
    """Return a row for each group and score: both means, their paired difference and its test.

    "better" counts the cases in which the first run has the better value. Each score is tested by
    itself: of twenty tests, one gives p < 0.05 by chance.
    """
    pairs = {name: (scored[name], others[name]) for name in scored}
    groups = list(dict.fromkeys(row[evaluation.group] for s in scored.values() for row in s.rows))
    rows = []
    for key, score in evaluation.scores.items():
        for group in [*groups, "mean"] if len(groups) > 1 else groups:
            values = [tuple(_value(evaluation, s, group, key) for s in p) for p in pairs.values()]
            found = compare_pairs(*zip(*values, strict=True))
            flip = score.best != "max"
            both = [pair for pair in values if pair[0] == pair[0] and pair[1] == pair[1]]
            means = [sum(part) / len(both) for part in zip(*both, strict=True)] or [None, None]
            rows.append(
                {
                    evaluation.group: group,
                    "score": f"|{score.title}|" if score.best == "zero" else score.title,
                    "this": means[0],
                    "other": means[1],
                    "difference": found.mean,
                    "low": found.low,
                    "high": found.high,
                    "interval": f"{found.low:+.3f} to {found.high:+.3f}" if found.num > 1 else "-",
                    "p": found.p,
                    "better": found.worse if flip else found.better,
                    "worse": found.better if flip else found.worse,
                    "cases": found.num,
                }
            )
    return rows


def _value(evaluation: "Evaluation", scored: "Scored", group: str, key: str) -> float:
    """Return a score of a case, of one group or the mean over those that have one."""
    own = [row for row in scored.rows if group in ("mean", row[evaluation.group])]
    values = [math.nan if row.get(key) is None else float(row[key]) for row in own]
    if evaluation.scores[key].best == "zero":  # or errors of two groups would cancel out
        values = [abs(value) for value in values]
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan
