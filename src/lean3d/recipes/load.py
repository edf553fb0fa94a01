"""Load the model of a run folder."""

import json
from pathlib import Path
from typing import Any, Literal

from torch import nn

from lean3d.checkpoints.read import read_file
from lean3d.errors import RunError
from lean3d.optional import require
from lean3d.recipes.base import Recipe
from lean3d.recipes.build import Start, build_model
from lean3d.weights import check_weights

__all__ = ["WEIGHTS", "load_run", "load_start", "read_recipe", "read_record", "weights_of"]

# of a shared run, see lean3d.recipes.share
WEIGHTS = "model.safetensors"
# largest size in bytes of a recipe.json that is read
LONGEST = 1 << 24


def load_run(
    folder: str | Path, checkpoint: Literal["best", "last"] = "best"
) -> tuple[nn.Module, Recipe]:
    """Return the model of a run in eval mode, with its best or last weights, and its recipe."""
    # with Lightning, which takes seconds to import
    from lean3d.recipes.task import build_task
    from lean3d.train.checkpoints import load_checkpoint

    folder = Path(folder)
    recipe = read_recipe(folder)
    task = build_task(recipe, build_model(recipe).model)
    if _is_shared(folder):
        _load_shared(task.model, folder / WEIGHTS)
        return task.model.eval(), recipe
    path = folder / "checkpoints" / f"{checkpoint}.ckpt"
    weights = load_checkpoint(path, task)["state_dict"]
    check_weights(path, weights, task.state_dict())
    task.load_state_dict(weights)
    return task.model.eval(), recipe


def load_start(folder: str | Path) -> Start:
    """Return the best weights of a run, for another run to start with."""
    model, recipe = load_run(folder)
    return Start(model.state_dict(), recipe.num_outputs)


def weights_of(folder: Path) -> Path:
    """Return the file of the best weights of a run.

    Raises:
        RunError: it has none yet.
    """
    if _is_shared(folder):
        return folder / WEIGHTS
    best = folder / "checkpoints" / "best.ckpt"
    if not best.is_file():
        raise RunError(f"there is no checkpoint {best}; train the run first")
    return best


def _is_shared(folder: Path) -> bool:
    return (folder / WEIGHTS).is_file() and not (folder / "checkpoints").is_dir()


def _load_shared(model: nn.Module, path: Path) -> None:
    """Fill a model from the weights of a run that was written to be shared."""
    tensors = read_file(path)
    load = require("safetensors.torch", extra="hub").load_model
    check_weights(path, tensors, {**tensors, **model.state_dict()})
    try:
        load(model, str(path))
    except RuntimeError as error:  # names of tensors, or shapes
        line = str(error).splitlines()[-1].strip()
        raise RunError(
            f"{path} was written for another model than its recipe.json: {line}"
        ) from error


def read_recipe(folder: Path) -> Recipe:
    """Return the recipe of a run."""
    return Recipe.from_dict(read_record(folder)["recipe"])


def read_record(folder: Path) -> dict[str, Any]:
    """Return the contents of recipe.json: the recipe, and where its sessions ran."""
    path = folder / "recipe.json"
    if not path.is_file():
        raise RunError(f"{folder} is no run folder, it has no recipe.json; train first")
    if path.stat().st_size > LONGEST:
        raise RunError(f"{path} is too long to be a recipe; train again")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    # also nested too deeply, or with more digits than Python reads
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"cannot read {path}: {error}; it is damaged: train again") from error
    if not isinstance(record, dict) or not isinstance(record.get("recipe"), dict):
        raise RunError(f"{path} holds no recipe; it is damaged or not of lean3d: train again")
    return record
