"""Segmentation: overlap, surfaces, volumes and lesions of each case, on the grid of its labels.

Axes: D depth, H height, W width; K classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lean3d.data import Volume, load_volume
from lean3d.data.mask import write_masks
from lean3d.files import write_whole
from lean3d.metrics import bootstrap_interval, confusion_counts, score_mask, unit_of
from lean3d.recipes.cases import Case, data_cases, split_cases
from lean3d.recipes.datasets import generated_cases
from lean3d.recipes.evaluation.base import (
    Evaluation,
    Row,
    Score,
    Scored,
    register_evaluation,
)
from lean3d.recipes.evaluation.overlays import case_sections
from lean3d.recipes.evaluation.settings import Settings
from lean3d.recipes.intensity import check_channels, scaled
from lean3d.recipes.predict import predict, to_mask
from lean3d.recipes.segment import Segmenter
from lean3d.recipes.segmentation import SegmentationRecipe
from lean3d.report import Picture, Section, draw_confusion

__all__ = ["SegmentationEvaluation"]


@register_evaluation("segmentation")
class SegmentationEvaluation(Evaluation):
    """Scores of every foreground class, over whole cases.

    A class that is in neither map of a case has no score there. One that is missed or added as a
    whole has a Dice, IoU and surface Dice of 0 and no Hausdorff distance. Of a run on crops around
    the middle, that crop is the case.
    """

    main = "dice"
    uses: ClassVar[tuple[str, ...]] = (
        "overlap",
        "tolerance_mm",
        "lesion_iou",
        "surfaces",
        "mirror",
    )

    _unit = unit_of((1.0,))

    def __init__(self, folder: Path, settings: Settings):
        super().__init__(folder, settings)
        if settings.overlap is None:
            self.settings = replace(settings, overlap=self.recipe.overlap)

    @property
    def scores(self) -> Mapping[str, Score]:
        return {
            "dice": Score("Dice"),
            "iou": Score("IoU"),
            "hd95": Score(f"HD95 ({self._unit.length})", "min"),
            "surface_dice": Score("surface Dice"),
            "volume_error": Score(f"volume error ({self._unit.volume})", "zero"),
        }

    def cases(self, data: str | None) -> Sequence[Case]:
        if (own := self.own(data, self._kept_apart)) is None:
            found = data_cases(replace(self.recipe, data=data))
        elif (drawn := generated_cases(own)) is not None:
            found = drawn
        else:
            found = self._kept_apart(own)
        if found:
            # the same unit for all cases
            first = found[0].read(None)
            self._unit = unit_of(first.spacing)
            if not first.placed:
                self.unsized = "no file says how large its voxels are: lengths take them for 1 mm"
        return found

    def _kept_apart(self, recipe: SegmentationRecipe) -> list[Case]:
        """Return the cases that the data's authors test on, or those held out."""
        split = split_cases(recipe, self.record.get("split"))
        return split.test or split.held_out

    def check(self, case: Case) -> None:
        if case.check is not None:
            check_channels(self.recipe, case.name, case.check())

    def score(self, case: Case, kept: Path) -> Scored:
        settings: dict[str, Any] = dict(
            overlap=self.settings.overlap,
            batch_size=self.settings.batch_size,
            device=self.settings.device,
            mirror=self.settings.mirror,
        )
        if not self._on_files(case):
            truth = self._seen(case)
            found = predict(self.model, self.recipe, scaled(self.recipe, truth), **settings)
            pred = to_mask(self.recipe, found)
            with write_whole(f"{kept}.npz") as temporary:
                np.savez_compressed(temporary, label=pred.numpy().astype(np.uint8))
        else:
            assert case.image is not None
            # the masks that lean3d predict writes
            members = [(self.model, self.recipe)]
            segmenter = Segmenter([self.folder], members=members, **settings)
            write_masks([f"{kept}.nii.gz"], segmenter.mask(case.image, kept.parent), case.image)
            truth, pred = case.read(None), self._pred(case, kept)
        assert truth.label is not None
        rows = [self._row(*pair, truth.spacing) for pair in self._masks(pred, truth.label)]
        counts_KK = confusion_counts(pred, truth.label, self.recipe.num_classes)
        return Scored(rows, {"confusion": counts_KK.tolist(), "spacing": list(truth.spacing)})

    def _masks(self, pred: Tensor, truth: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Yield name, prediction and truth of every class, or region."""
        regions = self.recipe.read_regions
        if regions is not None:
            pairs = [regions.targets(label[None])[0] for label in (pred, truth)]
            yield from zip(regions.names, *pairs, strict=True)
            return
        for number, name in enumerate(self.recipe.names[1:], 1):
            yield name, pred == number, truth == number

    def _row(self, name: str, pred: Tensor, truth: Tensor, spacing_mm: tuple[float, ...]) -> Row:
        unit, tolerance = self._unit, self.settings.tolerance_mm
        found = score_mask(
            pred,
            truth,
            [unit.per_mm * side for side in spacing_mm],
            tolerance=None if tolerance is None else unit.per_mm * tolerance,
            lesion_iou=self.settings.lesion_iou,
            surfaces=self.settings.surfaces,
        )
        scale = unit.per_mm3 / unit.per_mm**3
        return {
            "class": name,
            "dice": found.dice,
            "iou": found.iou,
            "hd95": found.hd95,
            "surface_dice": found.surface_dice,
            "volume_error": scale * (found.volume - found.true_volume),
            "true_volume": scale * found.true_volume,
            "volume": scale * found.volume,
            "occurs": found.occurs,
            "lesions": found.lesions.true,
            "lesions_found": found.lesions.found,
            "lesions_added": found.lesions.added,
            "voxels_both": found.both,
            "voxels_missed": found.missed,
            "voxels_added": found.added,
        }

    def titles(self) -> dict[str, str]:
        return {"dice_global": "Dice global", "global_interval": "95 % interval"} | {
            **super().titles(),
            "missed_cases": "cases missed",
            "added_cases": "cases added",
            "lesions_text": "lesions found/true +added",
        }

    def row_titles(self) -> dict[str, str]:
        volume = self._unit.volume
        return super().row_titles() | {
            "true_volume": f"true volume ({volume})",
            "volume": f"volume ({volume})",
            "occurs": "in",
            "lesions": "lesions",
            "lesions_found": "found",
            "lesions_added": "added",
        }

    def columns(self) -> dict[str, str]:
        length, volume = self._unit.length, self._unit.volume
        return {
            "class": "class",
            "dice": "Dice",
            "interval": "95 % CI",
            "dice_global": "global",
            "hd95": f"HD95 {length}",
            "surface_dice": "surface",
            "volume_error": f"err. {volume}",
            "lesions_text": "lesions",
        }

    def sum_up(self, name: str, rows: list[Row]) -> Row:
        summed = super().sum_up(name, rows)
        if name == "mean" and "voxels_both" not in (rows or [{}])[0]:
            return summed
        both, missed, added = (
            np.array([row[f"voxels_{part}"] for row in rows], dtype=float)
            for part in ("both", "missed", "added")
        )
        occurs = both + missed + added > 0
        pooled = [(2 * both)[occurs], (2 * both + missed + added)[occurs]]
        globally = bootstrap_interval(pooled, _ratio, pooled=True)
        lesions, found, extra = (
            sum(row[key] for row in rows) for key in ("lesions", "lesions_found", "lesions_added")
        )
        return summed | {
            "dice_global": globally.value,
            "dice_global_low": globally.low,
            "dice_global_high": globally.high,
            "global_interval": (
                f"{globally.low:.3f}-{globally.high:.3f}" if len(occurs) > 1 else "-"
            ),
            "lesions": lesions,
            "lesions_found": found,
            "lesions_added": extra,
            "lesions_text": f"{found}/{lesions} +{extra}",
            "missed_cases": sum(row["occurs"] == "missed" for row in rows),
            "added_cases": sum(row["occurs"] == "added" for row in rows),
        }

    def sections(self, scored: Mapping[str, Scored], kept: Path, data: str | None) -> list[Section]:
        sections = []
        if not self.recipe.masks:  # a voxel in two masks is not of a class
            counts = np.sum([one.more["confusion"] for one in scored.values()], axis=0)
            figure = draw_confusion(counts, self.recipe.names, "voxels")
            sections = [Section("Confusion", [Picture(figure, "All voxels of all cases.")])]
        cases = {case.name: case for case in self.cases(data)}

        def read(name: str) -> tuple[Volume, Tensor]:
            case = cases[name]
            volume = case.read(None) if self._on_files(case) else self._seen(case)
            return volume, self._pred(case, kept / name)

        return [*sections, *case_sections(self, scored, read)]

    def _on_files(self, case: Case) -> bool:
        """Whether a case is scored on the grid of its label files."""
        return case.filed and self.recipe.middle is None

    def _seen(self, case: Case) -> Volume:
        """Return a case on the grid of the run; of a run on crops around the middle, that crop."""
        volume = case.read(self.recipe.sides_mm)
        for axis, side in enumerate(self.recipe.patch if self.recipe.middle is not None else ()):
            if (room := volume.image.shape[1 + axis] - side) > 0:
                volume = volume.crop(axis, room // 2, room // 2 + side)
        return volume

    def _pred(self, case: Case, kept: Path) -> Tensor:
        """Return the prediction of a case on the grid that it is scored on."""
        if not self._on_files(case):
            with np.load(f"{kept}.npz") as stored:
                return torch.from_numpy(stored["label"].astype(np.int64))
        assert case.image is not None
        label = load_volume(case.image, f"{kept}.nii.gz").label
        assert label is not None
        return label


def _ratio(part: np.ndarray, whole: np.ndarray, axis: int) -> np.ndarray:
    return part.sum(axis) / whole.sum(axis)
