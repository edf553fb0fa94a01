"""Classification of whole volumes: the probability of the true class, and scores over all cases.

Axes: N cases, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lean3d.errors import RunError
from lean3d.metrics import class_scores, interval_of_scores
from lean3d.metrics.classes import TITLES
from lean3d.optional import require
from lean3d.recipes.class_cases import ClassCase, class_cases, split_classes
from lean3d.recipes.classify import classify
from lean3d.recipes.evaluation.base import Evaluation, Row, Score, Scored, register_evaluation
from lean3d.recipes.volume_classification import VolumeClassificationRecipe
from lean3d.report import Picture, Section, draw_confusion, draw_roc

__all__ = ["VolumeClassificationEvaluation"]


@register_evaluation("volume_classification")
class VolumeClassificationEvaluation(Evaluation):
    """Each case has the probability of its true class; the least sure come first."""

    main = "p_true"
    group = "class"

    @property
    def scores(self) -> Mapping[str, Score]:
        return {"p_true": Score("p of the true class"), "right": Score("right")}

    def cases(self, data: str | None) -> Sequence[ClassCase]:
        if (own := self.own(data, self._kept_apart)) is None:
            return self._known(class_cases(replace(self.recipe, data=data))[0])
        return self._known(self._kept_apart(own))

    def _kept_apart(self, recipe: VolumeClassificationRecipe) -> list[ClassCase]:
        split = split_classes(recipe, self.record.get("split"))
        return split.test or split.held_out

    def _known(self, cases: Sequence[ClassCase]) -> Sequence[ClassCase]:
        for case in cases:
            if case.target >= len(self.recipe.names):
                raise RunError(
                    f"{case.name} is of class {case.target}, and {self.folder} learnt "
                    f"{', '.join(self.recipe.names)[:150]}; leave it out"
                )
        return cases

    def score(self, case: ClassCase, kept: Path) -> Scored:
        prob_K = classify(self.model, self.recipe, case.read(), self.settings.device)
        names, found = self.recipe.names, int(prob_K.argmax())
        row: Row = {
            "class": names[case.target],
            "predicted": names[found],
            "right": float(found == case.target),
            "p_true": float(prob_K[case.target]),
        }
        return Scored([row], {"target": case.target, "p": prob_K.tolist()})

    def row_titles(self) -> dict[str, str]:
        return {"class": "true class", "predicted": "predicted", "p_true": "p of the true class"}

    def columns(self) -> dict[str, str]:
        return {"class": "score", "value": "value", "interval": "95 % CI", "cases": "cases"}

    def titles(self) -> dict[str, str]:
        return {"value": "value", "interval": "95 % interval", "cases": "cases"}

    def summary(self, scored: Mapping[str, Scored]) -> list[Row]:
        prob_NK, label_N = _arrays(scored)
        found, intervals = class_scores(prob_NK, label_N), interval_of_scores(prob_NK, label_N)
        rows = [
            _row(TITLES[name], found[name], intervals[name], len(label_N))
            for name in TITLES
            if name != "kappa" or self.recipe.ordinal
        ]
        for number, name in enumerate(self.recipe.names):
            own = [float(one.rows[0]["right"]) for one in scored.values() if one.rows]
            own = [r for r, true in zip(own, label_N.tolist(), strict=True) if true == number]
            summed = self.sum_up(name, [{"right": r, "p_true": r} for r in own])
            interval = (summed["low"], summed["high"])
            rows.append(_row(f"sensitivity {name}", summed["right"], interval, len(own)))
        return rows

    def compare(self, scored: Mapping[str, Scored], others: Mapping[str, Scored]) -> list[Row]:
        """Compare the cases in pairs, all classes together, and give both runs' scores."""
        together = [
            {name: Scored([one.rows[0] | {"class": "all"}]) for name, one in run.items()}
            for run in (scored, others)
        ]
        rows = super().compare(*together)
        mine, theirs = (class_scores(*_arrays(run)) for run in (scored, others))
        for key, title in TITLES.items():
            if key != "kappa" or self.recipe.ordinal:
                pair = {"this": mine[key], "other": theirs[key]}
                apart = mine[key] - theirs[key]
                rows.append({"class": "all", "score": title, **pair, "difference": apart})
        return rows

    def sections(self, scored: Mapping[str, Scored], kept: Path, data: str | None) -> list[Section]:
        prob_NK, label_N = _arrays(scored)
        num = self.recipe.num_classes
        counts = np.zeros((num, num))
        np.add.at(counts, (label_N.numpy(), prob_NK.argmax(1).numpy()), 1)
        confusion = Picture(draw_confusion(counts, self.recipe.names, "cases"), "All cases.")
        curves = _curves(prob_NK, label_N, self.recipe.names)
        sections = [Section("Confusion", [confusion])]
        if curves:
            picture = Picture(draw_roc(curves), "One class against the rest.")
            sections.append(Section("ROC", [picture]))
        return sections


def _arrays(scored: Mapping[str, Scored]) -> tuple[Tensor, Tensor]:
    prob_NK = torch.tensor([one.more["p"] for one in scored.values()])
    return prob_NK, torch.tensor([one.more["target"] for one in scored.values()])


def _row(name: str, value: float, interval: tuple[float, float], num: int) -> Row:
    low, high = interval
    text = f"{low:.3f}-{high:.3f}" if low == low else "-"
    row: Row = {"class": name, "value": value, "low": low, "high": high, "interval": text}
    return row | {"cases": num}


def _curves(prob_NK: Tensor, label_N: Tensor, names: Sequence[str]) -> dict[str, Any]:
    functional = require("torchmetrics.functional.classification", extra="train")
    curves: dict[str, Any] = {}
    for number, name in enumerate(names):
        inside = (label_N == number).long()
        if (len(names) == 2 and number == 0) or not 0 < inside.sum() < len(inside):
            continue
        false, true, _ = functional.binary_roc(prob_NK[:, number], inside)
        area = functional.binary_auroc(prob_NK[:, number], inside).item()
        curves[f"{name}, AUC {area:.3f}"] = (false.tolist(), true.tolist())
    return curves
