"""Runs of persons without training."""

import json

import torch

from lean3d.recipes import IdentityRecipe
from lean3d.recipes.build import build_model
from lean3d.recipes.resolve import resolve
from lean3d.recipes.task import build_task


def tiny(data, **more):
    given = dict(widths=(2, 2, 2, 4), embedding=4, size=32, batch_size=4, per_person=2)
    given |= dict(name="tiny", model="d_resnet_18", options=("head=embedding", "frames=1"))
    return IdentityRecipe(data=data, epochs=1, **given | more)


def untrained(folder, recipe, model=None):
    """A run folder as training leaves it."""
    recipe = resolve(recipe)
    task = build_task(recipe, model or build_model(recipe).model)
    (folder / "checkpoints").mkdir(parents=True)
    torch.save({"state_dict": task.state_dict()}, folder / "checkpoints" / "best.ckpt")
    record = {"recipe": recipe.to_dict(), "sessions": [{"torch": "2"}]}
    (folder / "recipe.json").write_text(json.dumps(record))
    return folder
