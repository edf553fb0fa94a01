"""lean3d predict IMAGE --run RUN --out MASK"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from lean3d.cli.device import find_device
from lean3d.cli.parse import parse
from lean3d.cli.show import show_json, show_table
from lean3d.cli.sources import run_files
from lean3d.data import Volume, load_volume, save_mask
from lean3d.errors import RunError
from lean3d.files import check_outputs, write_whole

__all__ = ["main", "segment"]


@dataclass(frozen=True)
class Predict:
    """Segment an image with a trained run; the mask gets the image's grid and header.

    Attributes:
        image: A NIfTI file, or one for each channel in order.
        run: Folder of the run.
        out: The mask to write, .nii or .nii.gz.
        overlap: Overlapping share of consecutive windows.
        batch_size: Windows at a time; the recipe's by default.
        device: Where to compute, such as cuda; a GPU if there is one by default.
    """

    image: Annotated[tuple[Path, ...], tyro.conf.Positional]
    run: Path
    out: Path
    overlap: float = 0.5
    batch_size: int | None = None
    device: str | None = None


def main(argv: list[str]) -> None:
    asked = parse(Predict, "predict", argv)
    _check_out(asked)
    device = find_device(asked.device)
    settings = dict(overlap=asked.overlap, batch_size=asked.batch_size, device=device)
    with write_whole(asked.out) as temporary:
        names = segment(asked.image, asked.run, temporary, **settings)
        rows = _volumes(load_volume(asked.image, temporary), names)
    show_table(rows[1:])
    print(f"the mask is {asked.out}")
    millilitres = {row["class"]: row["volume (mL)"] for row in rows}
    show_json({"mask": str(asked.out), "run": str(asked.run), "volume_ml": millilitres})


def segment(image: tuple[Path, ...], run: Path, out: Path, **settings: Any) -> tuple[str, ...]:
    """Segment image files into a mask file by a run's best weights; return the class names."""
    from lean3d.recipes.intensity import scaled
    from lean3d.recipes.predict import predict
    from lean3d.recipes.runs import load_run
    from lean3d.recipes.segmentation import SegmentationRecipe

    model, recipe = load_run(run)
    if not isinstance(recipe, SegmentationRecipe):
        raise RunError(f"{run} learnt {recipe.task} and predict segments; use lean3d stream")
    volume = scaled(recipe, load_volume(image, spacing_mm=recipe.sides_mm))
    save_mask(out, predict(model, recipe, volume, **settings), volume, like=image)
    return recipe.names


def _check_out(asked: Predict) -> None:
    """Refuse before the work what would fail, or destroy files, after it."""
    if not asked.image:
        raise RunError("predict needs an image; give a NIfTI file")
    if not asked.out.name.endswith((".nii", ".nii.gz")):
        raise RunError(f"the mask is written as .nii or .nii.gz, got --out {asked.out}")
    sources = {"image": asked.image, "run's own file": run_files(asked.run)}
    check_outputs({"--out": asked.out}, sources)


def _volumes(segmented: Volume, names: tuple[str, ...]) -> list[dict[str, Any]]:
    assert segmented.label is not None
    voxels = torch.bincount(segmented.label.flatten(), minlength=len(names)).tolist()
    depth, height, width = segmented.spacing
    millilitre = depth * height * width / 1000
    return [
        {"class": name, "voxels": count, "volume (mL)": round(count * millilitre, 3)}
        for name, count in zip(names, voxels, strict=True)
    ]
