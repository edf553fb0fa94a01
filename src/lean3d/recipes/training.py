"""Train a run whose settings are all decided."""

import json
import sys
from pathlib import Path
from typing import Any

from torch import nn

from lean3d.cost import count
from lean3d.errors import LeanError, RunError
from lean3d.files import write_text
from lean3d.lightening import read_cut
from lean3d.processes import by_first, in_turn
from lean3d.recipes.augment_on import placed
from lean3d.recipes.base import Recipe
from lean3d.recipes.build import Start, build_model
from lean3d.recipes.classification import ClassificationRecipe
from lean3d.recipes.datasets import loaders, split_names
from lean3d.recipes.found import Held
from lean3d.recipes.load import load_run, load_start
from lean3d.recipes.published import with_published_input
from lean3d.recipes.task import build_task
from lean3d.tasks.distillation import distil
from lean3d.tasks.learner import Learner
from lean3d.train.fit import check_settings, fit
from lean3d.train.folder import last_checkpoint
from lean3d.train.provenance import other_machine, provenance
from lean3d.train.settings import LoggerName, Strategy

__all__ = ["train_settled"]


def train_settled(
    recipe: Recipe,
    out: Path,
    begun: dict[str, Any],
    stored: Any,
    say: Held,
    *,
    resume: bool,
    accelerator: str,
    progress: bool,
    logger: LoggerName | None,
    start: Start | None,
    notes: dict[str, Any] | None,
    strategy: Strategy,
) -> dict[str, Any]:
    """Train, with the arguments of `lean3d.recipes.runs.run`, and return its result.

    Args:
        begun: The record of the run to resume; empty for a new one.
        stored: Names of the cases of each part, as a record has them.
        say: Told what was found.
    """
    begins = not last_checkpoint(out).exists()
    if start is None and recipe.start_from is not None and begins:
        start = load_start(recipe.start_from)
    settled, source = recipe, start if begins else None
    built = in_turn(lambda: build_model(settled, source, weights=begins))
    if isinstance(recipe, ClassificationRecipe) and begins:
        recipe = with_published_input(recipe, built.model, say)
    task = _taught(recipe, build_task(recipe, built.model))
    _check_input(recipe, built.model)
    check_settings(recipe.epochs, recipe.precision, accelerator, strategy)
    _check_strategy(recipe, strategy)
    final, task.prepare = placed(recipe, accelerator, say)
    split = by_first(lambda: split_names(final, stored))
    train, val = in_turn(lambda: loaders(final, split or stored, even=strategy == "fsdp"))
    settings = {"recipe": recipe.to_dict(), "split": split}
    record = (notes or {}) | begun | settings
    record |= {"fresh_weights": list(built.fresh)} if built.fresh is not None else {}
    record |= {"weights": built.note} if built.note else {}
    record["sessions"] = [*begun.get("sessions", []), provenance()]

    def begin() -> None:
        say.release()
        if last_checkpoint(out).exists() and (sentence := other_machine(record["sessions"])):
            print(f"lean3d: {out}: {sentence}", file=sys.stderr)
        if built.note:
            afresh = "" if built.fresh is None else f"; {len(built.fresh)} start afresh"
            print(f"lean3d: {built.note}{afresh}", file=sys.stderr)
        write_text(out / "recipe.json", json.dumps(record, indent=1) + "\n")

    return fit(
        task,
        train,
        val,
        out,
        epochs=recipe.epochs,
        precision=recipe.precision,
        patience=recipe.patience,
        val_every=recipe.val_every,
        seed=recipe.seed,
        resume=resume,
        accelerator=accelerator,
        strategy=strategy,
        sync_batchnorm=recipe.sync_batchnorm,
        accumulate=recipe.accumulate,
        progress=progress,
        begin=begin,
        logger=logger,
        settings=recipe.to_dict(),
    )


def _check_strategy(recipe: Recipe, strategy: str) -> None:
    if strategy == "fsdp" and isinstance(recipe, ClassificationRecipe) and recipe.staged:
        raise RunError(
            f"recipe {recipe.name} trains in stages (turn), which freeze parts in turn; "
            "strategy fsdp cannot, so leave it out"
        )


def _check_input(recipe: Recipe, model: nn.Module) -> None:
    """Refuse a model that cannot take the recipe's samples, before any sample is drawn."""
    try:
        count(model, (1, recipe.in_channels, *recipe.input_size))
    except LeanError as error:
        flat = any(isinstance(module, nn.Conv2d) for module in model.modules())
        remedy = "change its size, model or convert"
        if flat and len(recipe.input_size) == 3:
            remedy = "the model is 2D: pass --convert acs, or another way to 3D"
        raise RunError(
            f"recipe {recipe.name}: model {recipe.model} does not take {recipe.sample} of "
            f"{' x '.join(map(str, recipe.input_size))} ({error}); {remedy}"
        ) from error


def _taught(recipe: Recipe, task: Learner) -> Learner:
    """Return the task, with the teacher of the recipe if it has one."""
    if recipe.teacher is None:
        return task
    teacher, other = load_run(recipe.teacher)
    if (other.task, other.num_outputs) != (recipe.task, recipe.num_outputs):
        raise RunError(
            f"{recipe.teacher} cannot teach {recipe.name}: it learnt {other.task} with "
            f"{other.num_outputs} outputs, here it is {recipe.task} with {recipe.num_outputs}"
        )
    return distil(task, teacher, _blocks(recipe, teacher), recipe.distil)


def _blocks(recipe: Recipe, teacher: nn.Module) -> list[str]:
    """Return the convolutions that were cut."""
    modules = dict(teacher.named_modules())
    cuts = [read_cut(text) for text in recipe.cuts]
    gone = {cut.path for cut in cuts if cut.gone}
    left = dict.fromkeys(cut.path for cut in cuts if cut.path not in gone)
    return [path for path in left if isinstance(modules.get(path), nn.Conv3d)]
