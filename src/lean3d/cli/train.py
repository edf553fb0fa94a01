"""lean3d train RECIPE"""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from lean3d.cli.parse import parse
from lean3d.cli.show import show_json, show_table
from lean3d.recipes import Recipe, get_recipe, list_recipes
from lean3d.signals import advising

__all__ = ["main", "recipes_help", "with_model"]

# names, for people, of the score that chooses the best epoch
SCORES = {"val_auc": "AUC", "val_dice": "Dice", "val_map": "mAP", "val_top1": "top-1"}


@dataclass(frozen=True)
class Train:
    """Train a recipe in a run folder; every setting of the recipe is a flag.

    Attributes:
        out: The run folder; runs/RECIPE by default.
        resume: Resume the run in the folder.
        accelerator: Where to compute: auto, cpu, gpu.
        devices: Processes on every machine, one for each GPU; one, or those that torchrun started,
            by default.
        nodes: Machines; each starts the command by torchrun or srun.
        strategy: Every process keeps all weights (ddp), or a shard of each (fsdp).
        logger: Where the metrics of each epoch go besides metrics.csv.
        fast_allocator: Keep memory that is freed for the next step (glibc): faster on a CPU.
    """

    recipe: Recipe
    out: Path | None = None
    resume: bool = False
    accelerator: str = "auto"
    devices: int | None = None
    nodes: int | None = None
    strategy: Literal["ddp", "fsdp"] = "ddp"
    logger: Literal["tensorboard", "wandb", "mlflow", "trackio"] | None = None
    fast_allocator: bool = False


def main(argv: list[str]) -> None:
    name, *rest = argv or ["--help"]
    if name in ("-h", "--help"):
        print(recipes_help("train", list_recipes()))
        return
    train = parse(Train, f"train {name}", rest, default=Train(get_recipe(name)))
    train = replace(train, recipe=with_model(train.recipe, get_recipe(name), rest))
    out = train.out or Path("runs") / train.recipe.name
    from lean3d.processes import reports
    from lean3d.recipes.load import read_record
    from lean3d.recipes.runs import run

    if train.fast_allocator:
        from lean3d.train.allocator import keep_freed_memory

        keep_freed_memory()
    with advising(out, "recipe.json"):
        more: Any = dict(accelerator=train.accelerator, logger=train.logger)
        more |= dict(devices=train.devices, nodes=train.nodes, strategy=train.strategy)
        results = run(train.recipe, out, resume=train.resume, **more)
    if not reports(train.devices, train.nodes):
        return
    # with the settings that its data decided
    recipe = Recipe.from_dict(read_record(out)["recipe"])
    show_table(_table(results, recipe))
    print(f"the run is in {out}")
    summary = {key: value for key, value in results.items() if key != "epochs"}
    show_json({"run": str(out), "recipe": train.recipe.name, **summary, **_best(results)})


def with_model(recipe: Recipe, default: Recipe, argv: list[str]) -> Recipe:
    """Drop the recipe's settings of its own model if another, not of lean3d, replaces it."""
    if recipe.model == default.model or ":" not in recipe.model:
        return recipe
    given = {word.partition("=")[0].strip("-").replace("-", "_") for word in argv}
    none: dict[str, Any] = {"conv": None, "widths": None, "options": (), "start_from": None}
    return replace(recipe, **{key: none[key] for key in none.keys() - given})


def recipes_help(command: str, recipes: Mapping[str, str]) -> str:
    """Return the help of a command that takes a recipe and its settings.

    Args:
        recipes: What each is, by name.
    """
    width = max(map(len, recipes))
    indent: dict[str, Any] = dict(width=80, subsequent_indent=" " * (width + 4))
    lines = [
        line
        for name, what in recipes.items()
        for line in textwrap.wrap(f"  {name:{width}}  {what}", break_on_hyphens=False, **indent)
    ]
    more = " [--out DIR] [--resume]" if command == "train" else ""
    usage = f"usage: lean3d {command} RECIPE [--data DIR]{more} [any setting]"
    return "\n".join([usage, "", *lines, "", f"lean3d {command} RECIPE --help lists its settings."])


def _best(results: dict[str, Any]) -> dict[str, Any]:
    row = results["epochs"][results["best_epoch"] - 1]
    scores = {k: v for k, v in row.items() if k.startswith("val_") and k != "val_loss"}
    return {"epochs": len(results["epochs"]), **scores}


def _table(results: dict[str, Any], recipe: Recipe) -> list[dict[str, Any]]:
    """Return the score of each class that has one, and their mean; or all scores."""
    best, score = _best(results), results["monitor"]
    what = SCORES[score]
    rows = [
        {"class": n, what: best[k]} for n in recipe.scored_names if (k := f"{score}_{n}") in best
    ]
    if not rows:  # scores of all classes together
        scores = {k: v for k, v in best.items() if k.startswith("val_") and k != score}
        rows = [{"score": k[4:].replace("_", " "), "value": v} for k, v in scores.items()]
        return [*rows, {"score": f"{what} (epoch {results['best_epoch']})", "value": best[score]}]
    return [*rows, {"class": f"mean (epoch {results['best_epoch']})", what: best[score]}]
