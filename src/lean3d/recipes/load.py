"""Load the model of a run folder."""

import json
from pathlib import Path
from typing import Any, Literal

from torch import nn

from lean3d.errors import RunError
from lean3d.recipes.base import Recipe
from lean3d.recipes.build import build_model, build_task
from lean3d.train.checkpoints import load_checkpoint
from lean3d.weights import check_weights

__all__ = ["load_run", "read_recipe", "read_record"]

# largest size in bytes of a recipe.json that is read
LONGEST = 1 << 24


def load_run(
    folder: str | Path, checkpoint: Literal["best", "last"] = "best"
) -> tuple[nn.Module, Recipe]:
    """Return the model of a run in eval mode, with its best or last weights, and its recipe."""
    folder = Path(folder)
    recipe = read_recipe(folder)
    task = build_task(recipe, build_model(recipe).model)
    path = folder / "checkpoints" / f"{checkpoint}.ckpt"
    weights = load_checkpoint(path, task)["state_dict"]
    check_weights(path, weights, task.state_dict())
    task.load_state_dict(weights)
    return task.model.eval(), recipe


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
