"""Neurons: variation of information and Rand of the segmentation at each threshold.

Axes: C channels, K channels of affinities, D depth, H height, W width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lean3d.data import Volume
from lean3d.errors import RunError
from lean3d.files import write_whole
from lean3d.infer.fragment_graph import Contacts, FragmentGraph, contacts
from lean3d.infer.merging import agglomerate_graph
from lean3d.metrics import OverlapTable, overlap_table
from lean3d.recipes.affinity_tiles import fragments_of, offsets_of, volume_affinities
from lean3d.recipes.em_files import NM
from lean3d.recipes.evaluation.base import (
    Evaluation,
    Row,
    Score,
    Scored,
    register_evaluation,
)
from lean3d.recipes.microscopy import em_volumes
from lean3d.recipes.places import same_data
from lean3d.report import Picture, Section, draw_instances, draw_split_merge

__all__ = ["AffinityEvaluation"]

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
# mistakes that are drawn, of each kind, and voxels around them
WORST, MARGIN = 3, 8


@dataclass(frozen=True, eq=False)
class _Case:
    """A labelled volume."""

    volume: Volume
    stamp: str

    @property
    def name(self) -> str:
        return self.volume.name


@register_evaluation("affinities")
class AffinityEvaluation(Evaluation):
    """The held-out sections of each volume, segmented by a watershed and merged by the mean.

    Scores are over voxels whose true label is not 0, in bits for the variation of information; a
    row is a threshold of the merging.
    """

    main = "vi"
    group = "threshold"
    uses = ("labels",)

    @property
    def scores(self) -> Mapping[str, Score]:
        return {
            "vi": Score("VI", "min"),
            "vi_split": Score("VI split", "min"),
            "vi_merge": Score("VI merge", "min"),
            "arand": Score("ARAND", "min"),
            "rand_f": Score("V-Rand"),
            "info_f": Score("V-Info"),
        }

    def cases(self, data: str | None) -> Sequence[_Case]:
        labels = self.settings.labels
        if labels is not None and data is None:
            raise RunError("--labels are those of --data; give both")
        self.held_out = data is None or same_data(data, self.recipe.data)
        if labels is not None and self.held_out:
            self.held_out = same_data(labels, self.recipe.labels or "")
        recipe = self.recipe if self.held_out else replace(self.recipe, data=data, labels=labels)
        volumes = em_volumes(recipe, held_out=self.held_out)
        return [_Case(volume, _stamp(volume)) for volume in volumes]

    def score(self, case: _Case, kept: Path) -> Scored:
        if self.settings.device is not None:
            self.model.to(self.settings.device)
        volume = case.volume
        affinity = volume_affinities(self.model, self.recipe, volume.image.numpy())
        voxel_nm = tuple(side / NM for side in volume.spacing)
        fragments = fragments_of(self.recipe, voxel_nm).whole(affinity)
        offsets = offsets_of(self.recipe)
        whole = (slice(0, len(fragments)), *(slice(0, n) for n in fragments.shape[1:]))
        near, far = contacts(fragments, affinity, offsets, (whole[0], whole[1], whole[2]))
        parts = Contacts.added([near]), Contacts.added([far])
        graph = FragmentGraph(int(fragments.max(initial=0)), *parts)
        assert volume.label is not None
        table = overlap_table(fragments, volume.label.numpy())
        lookups = {t: agglomerate_graph(graph, t) for t in THRESHOLDS}
        rows = [self._row(t, table.merged(lookup)) for t, lookup in lookups.items()]
        best = min(rows, key=lambda row: row["vi"])
        chosen = lookups[float(best["threshold"])]
        with write_whole(f"{kept}.npz") as temporary:
            np.savez_compressed(temporary, label=chosen[fragments].astype(np.uint32))
        return Scored(rows, {"best": best["threshold"]})

    def _row(self, threshold: float, table: OverlapTable) -> Row:
        found = table.scores()
        return {"threshold": f"{threshold:g}", **{key: getattr(found, key) for key in self.scores}}

    def main_score(self, scored: Scored) -> float:
        return -self.rank(scored)

    def summary(self, scored: Mapping[str, Scored]) -> list[Row]:
        # a mean over thresholds says nothing
        return [row for row in super().summary(scored) if row["threshold"] != "mean"]

    def rank(self, scored: Scored) -> float:
        return -min(row["vi"] for row in scored.rows)

    def sections(self, scored: Mapping[str, Scored], kept: Path, data: str | None) -> list[Section]:
        curves = {
            name: [(r["vi_merge"], r["vi_split"], r["threshold"]) for r in one.rows]
            for name, one in scored.items()
        }
        caption = "A point is a threshold: below 1 less the affinity between them, fragments merge."
        pages = [Section("Splits and merges", [Picture(draw_split_merge(curves), caption)])]
        cases = {case.name: case.volume for case in self.cases(data)}
        for name, one in scored.items():
            with np.load(kept / f"{name}.npz") as stored:
                found = stored["label"]
            pages.append(_pictures(cases[name], found, one.more["best"]))
        return pages


def _stamp(volume: Volume) -> str:
    assert volume.label is not None
    return f"{tuple(volume.label.shape)} {int(volume.label.sum())} {float(volume.image.sum()):.6g}"


def _pictures(volume: Volume, found: np.ndarray, threshold: str) -> Section:
    assert volume.label is not None
    image, truth = volume.image[0].numpy(), volume.label.numpy()
    middle = len(image) // 2
    section = draw_instances(image[middle], truth[middle], found[middle])
    parts = [Picture(section, f"Section {middle + 1} of {len(image)}.", "png")]
    table = overlap_table(found, truth)
    for what, own, other in (("split", "truth", "segment"), ("merge", "segment", "truth")):
        for number, bits in _worst(table, own, other):
            mask = (truth if own == "truth" else found) == number
            where = "true neuron" if own == "truth" else "segment"
            text = f"The worst {what}s: {where} {number} adds {bits:.3f} bits to VI {what}."
            place, box = _box(mask)
            crop = [x[place][box] for x in (image, truth, found)]
            parts.append(Picture(draw_instances(*crop), text, "png"))
    return Section(f"{volume.name}, merged at {threshold}", list(parts))


def _worst(table: OverlapTable, own: str, other: str) -> list[tuple[int, float]]:
    """Return the labels that add most to the entropy of `other` given `own`, with their bits."""
    kept = (table.truth > 0) & (table.segment > 0)
    label, voxels = getattr(table, own)[kept], table.voxels[kept].astype(float)
    found, inverse = np.unique(label, return_inverse=True)
    total = np.bincount(inverse, voxels)
    parts = -voxels * np.log2(voxels / total[inverse])
    bits = np.bincount(inverse, parts) / max(voxels.sum(), 1)
    order = np.argsort(bits)[::-1][:WORST]
    return [(int(found[i]), float(bits[i])) for i in order if bits[i] > 0]


def _box(mask: np.ndarray) -> tuple[int, tuple[slice, slice]]:
    """Return the section with most of a mask, and a box around it there."""
    section = int(mask.sum((1, 2)).argmax())
    rows, columns = (np.flatnonzero(mask[section].any(axis)) for axis in (1, 0))
    sides = [slice(max(0, int(a[0]) - MARGIN), int(a[-1]) + MARGIN + 1) for a in (rows, columns)]
    return section, (sides[0], sides[1])
