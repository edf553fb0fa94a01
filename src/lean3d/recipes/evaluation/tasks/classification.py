"""Classification of videos: scores of clips and of videos, by the protocols of the papers.

Axes: B clips, C channels, T time, H height, W width, K classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lean3d.metrics.outputs import clip_scores
from lean3d.optional import require
from lean3d.recipes.clips import window
from lean3d.recipes.evaluation.base import (
    Evaluation,
    Row,
    Score,
    Scored,
    register_evaluation,
)
from lean3d.recipes.evaluation.video_cases import protocol_look, video_cases
from lean3d.recipes.recurrence import RecurrenceRecipe
from lean3d.report import Picture, Section, draw_confusion
from lean3d.report.mistakes import draw_mistake

__all__ = ["ClassificationEvaluation", "average_precision"]

# mistakes that the report shows with frames
SHOWN = 8
FRAMES = 6


@register_evaluation("classification")
class ClassificationEvaluation(Evaluation):
    """Shares of clips and videos whose class is found; of several labels each counts.

    The scores of a video are the mean over its clips of their probabilities, or of their logits.
    """

    main = "video1"
    uses: ClassVar[tuple[str, ...]] = ("clips", "crops", "stride", "whole", "size", "average")

    @property
    def scores(self) -> Mapping[str, Score]:
        return {
            "video1": Score("video@1"),
            "video5": Score("video@5"),
            "clip1": Score("clip@1"),
        }

    def cases(self, data: str | None) -> Sequence[Any]:
        return video_cases(self.recipe, data)

    @torch.inference_mode()
    def score(self, case: Any, kept: Path) -> Scored:
        recipe, settings = self.recipe, self.settings
        model = self.model.eval().to(settings.device or "cpu")
        found = [
            clip_scores(model(clip_BCTHW.to(settings.device or "cpu")), recipe.scoring)
            .float()
            .cpu()
            for clip_BCTHW in self._batches(case)
        ]
        logit_BK = torch.cat(found)
        probability_BK = logit_BK.softmax(1)
        mean_K = (probability_BK if settings.average == "softmax" else logit_BK).mean(0)
        labels, order = case.labels, mean_K.argsort(descending=True).tolist()
        right = [int(best) in labels for best in logit_BK.argmax(1)]
        row = {
            "class": recipe.names[labels[0]],
            "video1": float(order[0] in labels),
            "video5": float(bool(set(order[:5]) & set(labels))),
            "clip1": float(np.mean(right)),
            "found": recipe.names[order[0]],
            "clips": len(logit_BK),
        }
        scores = [round(value, 6) for value in mean_K.tolist()]
        return Scored([row], {"labels": list(labels), "best": order[0], "scores": scores})

    def _batches(self, case: Any) -> Iterator[Tensor]:
        size = self.settings.batch_size or self.recipe.batch_size
        look, batch = protocol_look(self.recipe, self.settings), []
        for clip_CTHW in case.clips(window(self.recipe), look, self._protocol):
            batch.append(clip_CTHW)
            if len(batch) == size:
                yield torch.stack(batch)
                batch = []
        if batch:
            yield torch.stack(batch)

    @property
    def _protocol(self) -> Any:
        """Return the settings; a recurrent head takes whole videos unless clips are asked for."""
        asked = self.settings.changed() & {"clips", "crops", "stride"}
        if isinstance(self.recipe, RecurrenceRecipe) and not asked:
            return replace(self.settings, whole=True)
        return self.settings

    def rank(self, scored: Scored) -> float:
        """Return 1 for a video that is right; of a wrong one minus the score of the wrong class."""
        row, more = scored.rows[0], scored.more
        if row["video1"]:
            return 1.0
        values = torch.tensor(more["scores"])
        values = values if self.settings.average == "softmax" else values.softmax(0)
        return -float(values[more["best"]])

    def titles(self) -> dict[str, str]:
        return super().titles() | {"ap": "average precision"}

    def row_titles(self) -> dict[str, str]:
        return super().row_titles() | {"found": "found", "clips": "clips"}

    def columns(self) -> dict[str, str]:
        return {
            "class": "class",
            "video1": "video@1",
            "interval": "95 % CI",
            "video5": "video@5",
            "clip1": "clip@1",
            "ap": "AP",
            "cases": "videos",
        }

    def summary(self, scored: Mapping[str, Scored]) -> list[Row]:
        """Return a row for each class; for all videos; and the mean of the classes, with mAP."""
        every = list(scored.values())
        precision_K = average_precision(
            torch.tensor([one.more["scores"] for one in every]),
            [one.more["labels"] for one in every],
        )
        names = self.recipe.names
        rows = []
        for number, name in enumerate(names):
            own = [self.mean_row(one) for one in every if number in one.more["labels"]]
            if own:
                rows.append(self.sum_up(name, own) | {"ap": precision_K[number]})
        means: Row = {key: float(np.mean([row[key] for row in rows])) for key in self.scores}
        means |= {"low": np.nan, "high": np.nan, "interval": "-", "cases": len(every)}
        means["ap"] = float(np.nanmean([row["ap"] for row in rows]))
        whole = self.sum_up("all videos", [self.mean_row(one) for one in every])
        return [*rows, whole | {"ap": np.nan}, {"class": "mean of classes", **means}]

    def sections(self, scored: Mapping[str, Scored], kept: Path, data: str | None) -> list[Section]:
        names = self.recipe.names
        counts = np.zeros((len(names), len(names)), dtype=int)
        for one in scored.values():
            counts[one.more["labels"][0], one.more["best"]] += 1
        figure = draw_confusion(counts, names, "videos")
        parts = [Section("Confusion", [Picture(figure, "All videos, by their first class.")])]
        cases = {case.name: case for case in self.cases(data)}
        wrong = [name for name, one in scored.items() if not one.rows[0]["video1"]][:SHOWN]
        if wrong:
            pictures = [self._mistake(name, scored[name], cases[name]) for name in wrong]
            parts.append(Section("Worst mistakes", list(pictures)))
        return parts

    def _mistake(self, name: str, scored: Scored, case: Any) -> Picture:
        row = scored.rows[0]
        caption = f"{name}: {row['class']}, taken for {row['found']} ({-self.rank(scored):.0%})"
        return Picture(draw_mistake(case.pictures(FRAMES)), caption, "png")


def average_precision(score_NK: Tensor, labels: Sequence[Sequence[int]]) -> list[float]:
    """Return the average precision of every class over N videos; NaN for one without a video.

    The mean over the ranks of a class's videos of the share of its videos up to there, as scikit-
    learn's `average_precision_score`; videos of equal scores share a rank.
    """
    functional: Any = require("torchmetrics.functional.classification", extra="train")
    target_NK = torch.zeros(score_NK.shape, dtype=torch.long)
    for place, own in enumerate(labels):
        target_NK[place, list(own)] = 1
    if score_NK.min() < 0 or score_NK.max() > 1:
        # logits: the order of the videos is the same, and torchmetrics takes probabilities
        score_NK = score_NK.sigmoid()
    occurs_K = target_NK.any(0)
    found = functional.multilabel_average_precision(
        score_NK[:, occurs_K], target_NK[:, occurs_K], num_labels=int(occurs_K.sum()), average=None
    )
    precision_K = torch.full((score_NK.shape[1],), torch.nan)
    precision_K[occurs_K] = found.float()
    return precision_K.tolist()
