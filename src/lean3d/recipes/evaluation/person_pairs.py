"""Pairs of videos that show one person, or two, in folds.

Source: Wolf et al., YouTube Faces, CVPR 2011; D3D, arXiv:2009.14639, Table 9: videos of 5, 25, 50
and 100 frames, of which all count, or all but the first four.

Axes: N videos, P pairs, S skips, E embedding.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lean3d.data import Pair, People
from lean3d.errors import RunError
from lean3d.metrics import verification_scores
from lean3d.recipes.evaluation.base import Evaluation, Row, Score, Scored
from lean3d.recipes.evaluation.person_protocol import Protocol, file_names
from lean3d.report import Picture, Section, Table, draw_roc
from lean3d.report.mistakes import draw_mistake

__all__ = ["Verification"]

FRAMES, SKIPS = (5, 25, 50, 100), {"avg all": 0, "avg 5:end": 4}
# pairs that the report shows
SHOWN = 8


class Verification(Protocol):
    """Pairs of one person, or of two, by a threshold on their distance."""

    main, group = "right", "frames"

    def __init__(self, owner: Evaluation, people: People, times: Any):
        super().__init__(owner, people, times)
        if owner.settings.others_only:
            raise RunError(f"{people.name} has pairs and no queries; leave --others-only out")
        if len({pair.fold for pair in people.pairs}) < 2:
            raise RunError(f"{people.name} has pairs of one fold; thresholds need two or more")
        self.scores = {"right": Score("accuracy")}
        self.rows: list[list[Row]] | None = None

    def names(self) -> list[str]:
        gallery = self.people.gallery
        named = [
            f"{p.fold:02}_{gallery[p.first].name}_{gallery[p.second].name}"
            for p in self.people.pairs
        ]
        return file_names(named)

    def shown(self) -> list[set[str]]:
        gallery = self.people.gallery
        return [{gallery[p.first].person, gallery[p.second].person} for p in self.people.pairs]

    def score(self, place: int, folder: Path) -> Scored:
        if self.rows is None:
            self.rows = self._all(folder)
        return Scored(self.rows[place])

    def _all(self, folder: Path) -> list[list[Row]]:
        pairs: list[Pair] = self.people.pairs
        rows: list[list[Row]] = [[] for _ in pairs]
        known = SKIPS if self.vectors.embedder.causal else {"avg all": 0}
        for num in self.owner.settings.frames or FRAMES:
            vectors_NSE = self.of_gallery(folder, num, list(known.values()))
            for place, fusion in enumerate(known):
                one, two = (
                    vectors_NSE[[getattr(p, side) for p in pairs], place]
                    for side in ("first", "second")
                )
                distance_P = (one - two).norm(dim=1).double().numpy()
                found = verification_scores(
                    distance_P, [p.same for p in pairs], [p.fold for p in pairs]
                )
                limits = dict(zip(found.folds.tolist(), found.threshold.tolist(), strict=True))
                for row, pair, right, margin, distance in zip(
                    rows, pairs, found.right, found.margin, distance_P, strict=True
                ):
                    row.append(
                        {
                            "frames": f"{num} {fusion}",
                            "fold": pair.fold,
                            "same": int(pair.same),
                            "right": float(right),
                            "distance": float(distance),
                            "threshold": limits[pair.fold],
                            "margin": float(margin),
                        }
                    )
        return rows

    def rank(self, scored: Scored) -> float:
        """Return how far a pair is on the right side of the thresholds, on average."""
        return float(np.mean([row["margin"] for row in scored.rows]))

    def titles(self, known: dict[str, str]) -> dict[str, str]:
        return {"right": "accuracy", "error": "standard error", "folds": "folds"} | known

    def row_titles(self) -> dict[str, str]:
        names = "frames", "fold", "same", "right", "distance", "threshold", "margin"
        return {name: name for name in names}

    def columns(self) -> dict[str, str]:
        return {
            "frames": "frames",
            "right": "accuracy",
            "error": "std. error",
            "threshold": "threshold",
            "folds": "folds",
            "cases": "pairs",
        }

    def summary(self, scored: Mapping[str, Scored], rows: list[Row]) -> list[Row]:
        """Return the mean accuracy of the folds and its standard error, for each setting."""
        summed = []
        for row in rows:
            if row["frames"] == "mean":
                continue
            own = [r for one in scored.values() for r in one.rows if r["frames"] == row["frames"]]
            folds = sorted({r["fold"] for r in own})
            means = [np.mean([r["right"] for r in own if r["fold"] == fold]) for fold in folds]
            error = np.std(means, ddof=1) / np.sqrt(len(means))
            limit = np.mean([r["threshold"] for r in own])
            more = {"right": float(np.mean(means)), "error": float(error), "folds": len(folds)}
            summed.append(row | more | {"threshold": float(limit)})
        return summed

    def sections(self, scored: Mapping[str, Scored]) -> list[Section]:
        curves, folds = {}, []
        settings = list(dict.fromkeys(row["frames"] for one in scored.values() for row in one.rows))
        for name in settings:
            own = [r for one in scored.values() for r in one.rows if r["frames"] == name]
            curves[name] = _roc([r["distance"] for r in own], [r["same"] for r in own])
            row: Row = {"frames": name}
            for fold in sorted({r["fold"] for r in own}):
                rights = [r["right"] for r in own if r["fold"] == fold]
                row[f"fold {fold}"] = float(np.mean(rights))
            folds.append(row)
        parts = [Section("Accuracy of each fold", [Table(folds)])]
        if all(curve is not None for curve in curves.values()):
            parts.append(Section("ROC", [Picture(draw_roc(curves), "All pairs of all folds.")]))  # type: ignore[arg-type]
        places = dict(zip(self.names(), self.people.pairs, strict=True))
        wrong = [n for n, one in scored.items() if self.rank(one) < 0][:SHOWN]
        pictures = []
        for name in wrong:
            pair = places[name]
            said = "one person" if pair.same else "two persons"
            frames = [self.middle(pair.first), self.middle(pair.second)]
            caption = f"{name}: {said}, margin {self.rank(scored[name]):.3f}"
            pictures.append(Picture(draw_mistake(frames), caption, "png"))
        if pictures:
            parts.append(Section("Worst pairs", list(pictures)))
        return parts


def _roc(distance: list[float], same: list[int]) -> tuple[list[float], list[float]] | None:
    """Return false and true positive rates of all thresholds; None without both kinds of pairs."""
    order, truth = np.argsort(distance, kind="stable"), np.asarray(same, dtype=float)
    if not 0 < truth.sum() < len(truth):
        return None
    true, false = truth[order].cumsum() / truth.sum(), (1 - truth[order]).cumsum()
    return [0.0, *(false / (len(truth) - truth.sum())).tolist()], [0.0, *true.tolist()]
