"""Run folders: train a recipe in one, and load the model of one."""

import sys
from pathlib import Path
from typing import Any

from lean3d.errors import RunError
from lean3d.processes import by_first, joined, place, started, to_start
from lean3d.recipes.base import Recipe
from lean3d.recipes.build import Start
from lean3d.recipes.found import Held
from lean3d.recipes.load import load_run, read_record
from lean3d.recipes.places import with_whole_paths
from lean3d.recipes.resolve import adopt, resolve
from lean3d.train.folder import check_places, is_begun, run_folder
from lean3d.train.settings import LoggerName, Strategy, check_logger, check_strategy

__all__ = ["load_run", "run"]

# fields that may differ from the run's own recipe when it is resumed
FREE = ("epochs", "patience", "workers", "data", "cache", "accumulate", "augment_on")


def run(
    recipe: Recipe,
    out: str | Path,
    *,
    resume: bool = False,
    accelerator: str = "auto",
    progress: bool = True,
    logger: LoggerName | None = None,
    start: Start | None = None,
    notes: dict[str, Any] | None = None,
    devices: int | None = None,
    nodes: int | None = None,
    strategy: Strategy = "ddp",
) -> dict[str, Any]:
    """Train a recipe in the folder `out`, and return the contents of its metrics.json.

    Nothing is written before the data are read, the model is built and the checkpoint to resume
    from, if any, is checked; a run that fails before the end of its first epoch leaves no folder.

    Args:
        resume: Continue the run in `out`, in whatever state it was killed.
        logger: As `lean3d.train.fit.fit` takes it.
        start: Initial weights; those of the recipe's own by default.
        notes: More for the record of a new run; "split" names the cases of each part.
        devices: Processes on every machine, one for each GPU; those that torchrun started, or one,
            by default. Others are started here, of this machine.
        nodes: Machines. The folder `out` and the data are on a disk that they share.
        strategy: Each process keeps all weights (ddp), or a shard of each (fsdp).

    Raises:
        RunError: ends all processes, whichever has it.
    """
    recipe.check()
    if logger is not None:
        check_logger(logger)
    check_strategy(strategy, recipe.precision)
    recipe = with_whole_paths(recipe)
    out = Path(out)
    # before the folder is made
    _begun(recipe, out, resume)
    given: dict[str, Any] = dict(resume=resume, accelerator=accelerator, progress=progress)
    given |= dict(logger=logger, start=start, notes=notes, strategy=strategy)
    if to_start(devices, nodes):
        from lean3d.train.fit import check_settings

        check_settings(recipe.epochs, recipe.precision, accelerator, strategy, devices)
        results: dict[str, Any] = started(run, (recipe, out), given, devices)
        return results
    with joined(devices, nodes), run_folder(out), _telling(progress) as say:
        return _run(recipe, out, _begun(recipe, out, resume), say, **given)


def _run(
    recipe: Recipe,
    out: Path,
    begun: dict[str, Any],
    say: Held,
    resume: bool,
    accelerator: str,
    progress: bool,
    logger: LoggerName | None,
    start: Start | None,
    notes: dict[str, Any] | None,
    strategy: Strategy,
) -> dict[str, Any]:
    stored = (begun or notes or {}).get("split")
    if begun:
        recipe = adopt(recipe, Recipe.from_dict(begun["recipe"]))
    else:
        asked = recipe
        recipe = by_first(lambda: resolve(asked, stored, say))
    # with Lightning, which takes seconds to import: what was found is said before
    from lean3d.recipes.training import train_settled

    given: dict[str, Any] = dict(resume=resume, accelerator=accelerator, progress=progress)
    given |= dict(logger=logger, start=start, notes=notes, strategy=strategy)
    return train_settled(recipe, out, begun, stored, say, **given)


def _telling(progress: bool) -> Held:
    """Return what tells people what was found: at once in a terminal, by the first process."""
    told = progress and place().first
    return Held(_say if told else lambda line: None, hold=not (told and sys.stderr.isatty()))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _begun(recipe: Recipe, out: Path, resume: bool) -> dict[str, Any]:
    """Return the record of the run to resume; empty for a new run."""
    check_places(out)
    trained = is_begun(out, resume)
    if not resume:
        return {}
    if out.is_dir() and not trained and not (out / "recipe.json").exists():
        return {}  # killed before its first step
    record = read_record(out)
    before = Recipe.from_dict(record["recipe"])
    old, new = with_whole_paths(before).to_dict(), adopt(recipe, before).to_dict()
    other = [name for name in new if name not in FREE and new[name] != old.get(name)]
    if other:
        name = other[0]
        raise RunError(
            f"{out} was begun with {name} {old.get(name)} and not {new[name]}; resume with the "
            "run's own settings, or train in another --out"
        )
    return record
