"""The demo's report: one page for a radiologist and an engineer."""

import json
from pathlib import Path
from typing import Literal

from examples.demo.compare import Result
from lean3d.data import brain_slabs, load_volume, mni152
from lean3d.recipes import SegmentationRecipe
from lean3d.report import (
    Code,
    Picture,
    Point,
    Section,
    Table,
    draw_curves,
    draw_overlay,
    draw_pareto,
    write_page,
)
from lean3d.train.provenance import provenance

__all__ = ["write_demo_page"]

TASKS = {
    "mni152": "Which voxels of a T1 brain are CSF, grey matter and white matter? The MNI152 "
    "template at 2 mm mirrors itself from left to right, so it is cut from front to back: the 3D "
    "networks learn from {blocks} labelled blocks of {side} voxels cubed in the back, and are "
    "tested on the whole front, 10 mm away.",
    "shapes3d": "Which voxels belong to a sphere, cube, cylinder, cone or pyramid, in noise as "
    "strong as half the contrast? The 3D networks learn from {samples} volumes of {side} voxels "
    "cubed and are tested on {tests} others.",
}
METHOD = (
    "All 3D networks are one UNet with another operator, trained for {epochs} epochs with equal "
    "settings. ACS from 2D starts with the weights of the 2D UNet of the first row, converted by "
    "lean3d.convert(model, lean3d.ACS())."
)
CAPTION = (
    "Dice over all held-out voxels, weights of the last epoch, one seed. The 2D network learnt "
    "from far more labels, or answers an easier question: it is where ACS from 2D starts, not a "
    "rival. MACs are for one inference pass; peak MiB is the memory that training added."
)
OVERLAY = (
    "Written by lean3d predict to a NIfTI mask with the weights of the best epoch. Axial, coronal "
    "and sagittal slices with most tissue; radiological convention."
)


def write_demo_page(
    path: Path,
    methods: dict[str, SegmentationRecipe],
    results: list[Result],
    mask: Path | None,
    minutes: float,
) -> None:
    """Write the page for a finished comparison; `mask` is the last method's prediction."""
    last = results[-1]
    recipe = methods[last.method]
    deep = results[1:]
    points = [Point(r.method, r.row["MACs per voxel"], r.row["mean Dice"]) for r in deep]
    side, samples = recipe.patch[0], recipe.train_samples
    task = TASKS[recipe.data].format(
        blocks=recipe.blocks, side=side, samples=samples, tests=recipe.val_samples
    )
    sections = [
        Section("The task", [task, METHOD.format(epochs=recipe.epochs)]),
        Section("Five 3D networks", _tables(results, recipe)),
        Section("Cost against quality", [Picture(draw_pareto(points, per="voxel"))]),
        Section("Training", [Picture(draw_curves({r.method: r.epochs for r in deep}))]),
    ]
    if mask is not None:
        picture = Picture(_overlay(mask, recipe), OVERLAY, kind="png")
        sections.append(Section(f"The held-out slab by {last.method}", [picture]))
    sections.append(Section("The recipes", [Code(_recipes(methods))]))
    facts = {"command": "lean3d demo", "minutes": round(minutes, 1), **provenance()}
    write_page(path, "lean3d: from 2D to 3D", sections, facts)


def _tables(results: list[Result], recipe: SegmentationRecipe) -> list[Table | str]:
    """Return the 2D row separately, if its classes differ."""
    rows = [result.row for result in results]
    best: dict[str, Literal["max", "min"]] = {f"Dice {name}": "max" for name in recipe.names[1:]}
    best |= {"mean Dice": "max", "s per epoch": "min", "peak MiB": "min"}
    return [Table(rows[:1]), Table(rows[1:], best=best), CAPTION]


def _overlay(mask: Path, recipe: SegmentationRecipe):
    slab = brain_slabs(mni152((recipe.sides_mm or (1.0,))[0]))[1]
    predicted = load_volume(mask.with_name("held_out_t1.nii.gz"), mask).label
    names = recipe.names
    return draw_overlay(
        slab.image[0], slab.label, predicted, spacing=slab.spacing, class_names=names
    )


def _recipes(methods: dict[str, SegmentationRecipe]) -> str:
    return "\n".join(json.dumps(recipe.to_dict()) for recipe in methods.values())
