"""A run of published weights that was never trained here, to be evaluated as any other."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lean3d.errors import RunError
from lean3d.files import write_text, write_whole
from lean3d.networks.own import located
from lean3d.optional import require
from lean3d.recipes.build import build_model
from lean3d.recipes.classification import ClassificationRecipe
from lean3d.recipes.load import WEIGHTS, read_record
from lean3d.recipes.published import published_look
from lean3d.recipes.resolve import resolve

__all__ = ["published_run"]

# of weights that do not tell them
FRAMES, SIZE = 16, 112


def published_run(
    model: str,
    folder: str | Path,
    *,
    weights: str | Path,
    data: str,
    format: str | None = None,
    widths: Sequence[int] | None = None,
    options: Sequence[str] = (),
    clip: int | None = None,
    step: int | None = None,
    fps: float | None = None,
    size: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> tuple[Path, ClassificationRecipe]:
    """Write a run folder of published weights, and return it with its recipe.

    Length, step, rate and size of the clips, mean and deviation are those that the format of the
    weights is known by; what is given here counts instead. A folder with the same run is kept.

    Args:
        model: Reference of a network that classifies clips.
        weights: A file that has a head for the classes of the data.
        data: As `lean3d evaluate` takes it.
        format: Of the file, if its keys are ambiguous.

    Raises:
        RunError: the weights have no head for these classes, or the folder holds another run.
    """
    recipe = ClassificationRecipe(
        name="published",
        data=data,
        num_classes=0,
        model=located(model),
        weights=str(Path(weights).resolve()),
        format=format,
        widths=None if widths is None else tuple(widths),
        options=tuple(options),
    )
    asked = resolve(recipe)
    assert isinstance(asked, ClassificationRecipe)
    built = build_model(asked, weights=True)
    if built.fresh:
        raise RunError(
            f"{weights} has no head for the {asked.num_classes} classes of {data} ("
            f"{built.fresh[0]} would be random); give data of its own classes, or train with "
            "--weights first"
        )
    loaded = getattr(built.model, "checkpoint", None)
    known = None if loaded is None else loaded.preprocessing
    look = published_look(known, size, SIZE)
    colours: dict[str, Any] = dict(mean=look.mean, std=look.std)
    if mean is not None or std is not None:
        colours = dict(mean=mean and tuple(mean), std=std and tuple(std))
    asked = replace(
        asked,
        # it was trained on none here, so all of them are scored
        data="",
        clip=clip or (known and known.frames) or FRAMES,
        step=step or (known and known.step) or 1,
        fps=fps or (known and known.fps),
        size=look.size[0],
        short_side=look.short_side,
        crop="middle",
        **colours,
    )
    asked.check()
    _keep(Path(folder), asked, built.model, built.note)
    return Path(folder), asked


def _keep(folder: Path, recipe: ClassificationRecipe, model: Any, note: str) -> None:
    found = Path(str(recipe.weights)).stat()
    record: dict[str, Any] = {"recipe": recipe.to_dict(), "weights": note}
    record |= {"file": [found.st_size, found.st_mtime_ns]}
    record = json.loads(json.dumps(record))
    if (folder / "recipe.json").exists():
        if read_record(folder) != record:
            raise RunError(f"{folder} holds another run; give another --out, or remove it")
        if (folder / WEIGHTS).is_file():
            return
    folder.mkdir(parents=True, exist_ok=True)
    save = require("safetensors.torch", extra="checkpoints").save_model
    # whole files: processes of torchrun write the same
    with write_whole(folder / WEIGHTS) as temporary:
        save(model, str(temporary), metadata={"format": "pt"})
    write_text(folder / "recipe.json", json.dumps(record, indent=1) + "\n")
