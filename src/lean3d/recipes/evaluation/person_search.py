"""A search for each query among a gallery: CMC and mAP.

Source: Zheng et al., MARS, ECCV 2016: cumulative matching at ranks 1, 5 and 10 and mean average
precision, without the query's own camera.

Axes: E embedding, G gallery, N videos, Q queries.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lean3d.data import People, Tracklet
from lean3d.errors import RunError
from lean3d.metrics import JUNK, retrieval_scores
from lean3d.recipes.evaluation.base import Evaluation, Row, Score, Scored
from lean3d.recipes.evaluation.person_protocol import Protocol, file_names
from lean3d.report import Picture, Section
from lean3d.report.matching import draw_matching
from lean3d.report.mistakes import draw_mistake

__all__ = ["Search"]

RANKS = 1, 5, 10
# queries that the report shows, with this many found videos each, and distances at a time
SHOWN, NEAREST, AT_ONCE = 8, 5, 64


class Search(Protocol):
    """A search for every query among the gallery."""

    main, group = "ap", "queries"

    def __init__(self, owner: Evaluation, people: People, times: Any):
        super().__init__(owner, people, times)
        self.scores = {
            "ap": Score("mAP"),
            "ap_hits": Score("mAP at hits"),
            **{f"rank{k}": Score(f"rank-{k}") for k in RANKS},
        }
        if len(owner.settings.frames) > 1:
            raise RunError(
                f"{people.name} is searched with videos of one length, got --frames "
                f"{' '.join(map(str, owner.settings.frames))}"
            )
        queries = set(people.queries)
        self.places = [
            n
            for n in range(len(people.gallery))
            if not (owner.settings.others_only and n in queries)
        ]
        if not self.places:
            raise RunError(f"{people.name}: every video is a query; leave --others-only out")
        self.rows: list[Row] | None = None

    def names(self) -> list[str]:
        return file_names([self.people.gallery[q].name for q in self.people.queries])

    def shown(self) -> list[set[str]]:
        return [{self.people.gallery[q].person} for q in self.people.queries]

    def score(self, place: int, folder: Path) -> Scored:
        if self.rows is None:
            self.rows = self._all(folder)
        row = dict(self.rows[place])
        return Scored([row], {"nearest": row.pop("places")})

    def _all(self, folder: Path) -> list[Row]:
        num = next(iter(self.owner.settings.frames), None)
        vectors_NE = self.of_gallery(folder, num, [self.owner.recipe.skip])[:, 0]
        people, gallery = self.people, [self.people.gallery[n] for n in self.places]
        numbers = {p: n for n, p in enumerate(sorted({t.person for t in people.gallery}))}
        numbers["-1"] = JUNK
        own = {n: k for k, n in enumerate(self.places)}
        found = []
        for first in range(0, len(people.queries), AT_ONCE):
            queries = people.queries[first : first + AT_ONCE]
            shown = [people.gallery[q] for q in queries]
            distance_QG = _distances(vectors_NE[queries], vectors_NE[self.places])
            scores = retrieval_scores(
                distance_QG,
                [numbers[t.person] for t in shown],
                [numbers[t.person] for t in gallery],
                [_camera(t) for t in shown],
                [_camera(t) for t in gallery],
                [own.get(q, -1) for q in queries],
            )
            for k, query in enumerate(shown):
                first_right = float(scores.first[k])
                known = first_right == first_right
                nearest = self._nearest(distance_QG[k], query, queries[k])
                row: Row = {
                    "queries": "all" if query.camera is None else f"camera {query.camera + 1}",
                    "person": query.person,
                    "ap": float(scores.average_precision[k]),
                    "ap_hits": float(scores.precision_at_hits[k]),
                    **{f"rank{r}": float(first_right <= r) if known else np.nan for r in RANKS},
                    "first": first_right,
                    "right": int(scores.right[k]),
                    "nearest": people.gallery[nearest[0]].name if nearest else "",
                    "places": nearest,
                }
                found.append(row)
        return found

    def _nearest(self, distance_G: np.ndarray, query: Tracklet, place: int) -> list[int]:
        """Return the places of the nearest videos that count."""
        found = []
        for k in np.argsort(distance_G, kind="stable").tolist():
            one = self.people.gallery[self.places[k]]
            same = one.person == query.person and one.camera == query.camera is not None
            if self.places[k] != place and one.person != "-1" and not same:
                found.append(self.places[k])
            if len(found) == NEAREST:
                break
        return found

    def rank(self, scored: Scored) -> float:
        return float(scored.rows[0]["ap"])

    def titles(self, known: dict[str, str]) -> dict[str, str]:
        return known

    def row_titles(self) -> dict[str, str]:
        more = {"first": "first right", "right": "right ones", "nearest": "nearest"}
        titles = {key: score.title for key, score in self.scores.items()} | {"ap": "AP"}
        titles["ap_hits"] = "AP at hits"
        return {"queries": "queries", "person": "person", **titles, **more}

    def columns(self) -> dict[str, str]:
        ranks = {f"rank{k}": f"rank-{k}" for k in RANKS}
        return {"queries": "queries", "ap": "mAP", "interval": "95 % CI", **ranks} | {
            "ap_hits": "mAP at hits",
            "cases": "number",
        }

    def summary(self, scored: Mapping[str, Scored], rows: list[Row]) -> list[Row]:
        """Return a row for each camera, and for all queries together."""
        return [row | {"queries": "all"} if row["queries"] == "mean" else row for row in rows]

    def sections(self, scored: Mapping[str, Scored]) -> list[Section]:
        first = np.array([one.rows[0]["first"] for one in scored.values()], dtype=float)
        first = first[np.isfinite(first)]
        parts = []
        if len(first):
            most = min(len(self.places), 20)
            shares = [float(np.mean(first <= k)) for k in range(1, most + 1)]
            picture = Picture(
                draw_matching({self.owner.folder.name: shares}),
                "Share of the queries with a right video among the nearest.",
            )
            parts.append(Section("Cumulative matching", [picture]))
        places = dict(zip(self.names(), self.people.queries, strict=True))
        worst = [(name, one) for name, one in scored.items() if one.rows[0]["ap"] < 1][:SHOWN]
        pictures = [self._picture(places[name], name, one) for name, one in worst]
        if pictures:
            parts.append(Section("Worst queries", list(pictures)))
        return parts

    def _picture(self, place: int, name: str, scored: Scored) -> Picture:
        row, nearest = scored.rows[0], scored.more["nearest"]
        people = ", ".join(self.people.gallery[n].person for n in nearest)
        caption = (
            f"{name}, person {row['person']} (left), and the nearest of {people}; the first right "
            f"one has rank {row['first']:.0f}, AP {row['ap']:.3f}."
        )
        return Picture(draw_mistake([self.middle(n) for n in (place, *nearest)]), caption, "png")


def _camera(tracklet: Tracklet) -> int:
    return -1 if tracklet.camera is None else tracklet.camera


def _distances(one_QE: Tensor, two_GE: Tensor) -> np.ndarray:
    # a matrix product loses the digits of small distances
    mode = "donot_use_mm_for_euclid_dist"
    return torch.cdist(one_QE, two_GE, compute_mode=mode).double().numpy()
