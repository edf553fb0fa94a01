"""Make the network of a run lighter, in a run of its own that learns from the first one.

Paper: Renda, Frankle and Carbin, Comparing Rewinding and Fine-tuning in Neural Network Pruning,
arXiv:2003.02389 (the learning rate starts where that of the first run did)

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lean3d.errors import RunError
from lean3d.lightening import CUTS, Lightening, lighten
from lean3d.lightening.candidates import Criterion
from lean3d.lightening.target import KINDS, Target, read_target
from lean3d.recipes.base import Recipe
from lean3d.recipes.build import Start
from lean3d.recipes.datasets import loaders
from lean3d.recipes.load import load_run, read_record
from lean3d.recipes.recurrence import RecurrenceRecipe
from lean3d.recipes.runs import run as train
from lean3d.train.fit import Precision, check_settings
from lean3d.train.folder import check_places, is_begun

__all__ = ["RECORD", "Lighter", "begun_by", "best_score", "lighten_run"]

# what recipe.json keeps of it: the choice, and what was asked for
RECORD, ASKED = "lightening", "lighten"
EPOCHS = 5


@dataclass(frozen=True)
class Lighter:
    """How the network of a run is made lighter, and trained on.

    Attributes:
        time: Of a pass: up to 1 a share of the run's own network, above it milliseconds.
        macs: In place of time, multiply-adds; up to 1 a share.
        params: In place of time, parameters; up to 1 a share.
        memory: In place of time, bytes of parameters and activations; up to 1 a share.
        step: In place of time, that of a step of the network as a stream; as time.
        state: In place of time, bytes of a stream's state; up to 1 a share.
        cuts: Families of cuts to choose from.
        criterion: How the error of a form is judged.
        batch: Samples of a pass.
        samples: Training batches on which forms are fitted and compared.
        data: Training data in place of the run's, of the same kind.
        epochs: Passes over the training set afterwards; 5 by default.
        lr: Learning rate at the start; the run's by default. It falls to 0 by half a cosine.
        distil: Weight of the run's outputs, and of its blocks', in the loss.
        seed: Of the training; the run's by default.
        precision: Of the training; the run's by default.
        backends: Backends to time by; all that are quick to prepare by default.
        budget_s: Seconds after which no further form is timed.
    """

    time: float | None = None
    macs: float | None = None
    params: float | None = None
    memory: float | None = None
    step: float | None = None
    state: float | None = None
    cuts: tuple[str, ...] = tuple(CUTS)
    criterion: Criterion = "fisher"
    batch: int = 1
    samples: int = 8
    data: str | None = None
    epochs: int | None = None
    lr: float | None = None
    distil: float = 1.0
    seed: int | None = None
    precision: Precision | None = None
    backends: tuple[str, ...] | None = None
    budget_s: float = 300.0

    def recipe(self, old: Recipe, teacher: Path) -> Recipe:
        """Return the recipe of the new run, without its cuts."""
        # what trains a network from its start alone
        more: dict[str, Any] = {
            name: 0 for name in ("turn", "deep_supervision") if hasattr(old, name)
        }
        more |= {"epochs": EPOCHS, "distil": self.distil} | self.given
        new = replace(
            old,
            weights=None,
            weights_part=None,
            format=None,
            start_from=None,
            teacher=str(teacher.resolve()),
            schedule="cosine",
            steps=(),
            patience=None,
            **more,
        )
        new.check()
        return new

    def check(self) -> None:
        """Refuse numbers that no run can have.

        Raises:
            RunError: names the flag and its value.
        """
        for name in ("batch", "samples", "epochs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise RunError(f"lighten: {name} is 1 or more, got {getattr(self, name)}")

    @property
    def given(self) -> dict[str, Any]:
        """Settings of the training that are not left at their defaults."""
        names = "data", "epochs", "lr", "distil", "seed", "precision"
        return {n: v for n in names if (v := getattr(self, n)) != getattr(Lighter, n)}

    @property
    def target(self) -> Target:
        """What is asked for.

        Raises:
            LeanError: none or several were named, or its value is no number above 0.
        """
        return read_target(**{name: getattr(self, name) for name in KINDS})

    def asked(self, run: Path) -> dict[str, Any]:
        """Return what decides the network, as its run keeps it."""
        given = {name: getattr(self, name) for name in (*KINDS, "cuts", "criterion", "batch")}
        plain = {n: list(v) if isinstance(v, tuple) else v for n, v in given.items()}
        return {"run": str(run.resolve())} | plain


def lighten_run(
    run: str | Path,
    out: str | Path,
    how: Lighter,
    *,
    resume: bool = False,
    accelerator: str = "auto",
    progress: bool = True,
    scratch: bool = False,
    tell: Any = lambda line: None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Train a lighter network in the run folder `out`; return its metrics and its record.

    The record is that of `Lightening.to_dict`; it is in recipe.json of the new run, which every
    command takes as it takes the first one.

    Args:
        run: Folder of a finished run.
        resume: Continue the run in `out`; the cuts are those that it was begun with.
        scratch: Train the lighter network from random weights without a teacher, to compare.
        tell: Called with a line on what takes long, and on what was chosen.

    Raises:
        RunError: `out` holds a run already or was begun with something else, or `run` is none.
        LeanError: the target cannot be met, or the network has nothing to cut.
    """
    how.check()
    run, out = Path(run), Path(out)
    if out.resolve() == run.resolve():
        raise RunError(f"--out is the run itself, {run}; give another folder")
    check_places(out)
    begun = is_begun(out, resume)
    settings: Any = dict(accelerator=accelerator, progress=progress)
    if begun:
        record = begun_by(run, out, how)
        recipe = replace(Recipe.from_dict(record["recipe"]), **how.given)
        return train(recipe, out, resume=True, **settings), record[RECORD]
    kind = how.target.kind
    model, old = load_run(run)
    if isinstance(old, RecurrenceRecipe):
        raise RunError(f"{run} trained a head on features; lighten the run they come from")
    recipe = how.recipe(old, run)
    check_settings(recipe.epochs, recipe.precision, accelerator)
    split = read_record(run).get("split") if how.data is None else None
    batches = _batches(recipe, split, how.samples)
    example = _example(batches, how.batch)
    if kind in ("time", "step"):
        tell(
            f"timing what each convolution can become, for {how.budget_s:.0f} s at most; times are "
            "kept for the next call"
        )
    found = lighten(
        model,
        example,
        data=batches,
        time=how.time,
        macs=how.macs,
        params=how.params,
        memory=how.memory,
        step=how.step,
        state=how.state,
        cuts=how.cuts,
        criterion=how.criterion,
        backends=how.backends,
        budget_s=how.budget_s,
    )
    lightening: Lightening = vars(found)["lightening"]
    tell(lightening.summary())
    # those of a run that was made lighter before come first
    recipe = replace(recipe, cuts=(*old.cuts, *map(str, lightening.cuts)))
    start: Start | None = Start(found.state_dict(), old.num_outputs)
    if scratch:
        recipe, start = replace(recipe, teacher=None), None
    notes = {RECORD: lightening.to_dict(), ASKED: how.asked(run)}
    notes |= {} if split is None else {"split": split}
    results = train(recipe, out, start=start, notes=notes, **settings)
    return results, notes[RECORD]


def begun_by(run: Path, out: Path, how: Lighter, *, whole: bool = False) -> dict[str, Any]:
    """Return the record of a run that was made lighter, if it is the one that is asked for.

    Args:
        whole: Compare what is left at its default as well.

    Raises:
        RunError: says what it was begun with instead.
    """
    record = read_record(out)
    if RECORD not in record:
        raise RunError(f"{out} is a run, but not one of lighten; give another --out")
    before, usual = record.get(ASKED, {}), Lighter().asked(run)
    for name, value in how.asked(run).items() if before else ():
        given = whole or name == "run" or value != usual[name]
        if given and value != before.get(name):
            raise RunError(
                f"{out} was begun with {name} {before.get(name)}, not {value}; give what it was "
                "begun with, or another --out"
            )
    return record


def best_score(run: str | Path) -> tuple[str, float | None]:
    """Return the name and the value of the score of a run's best epoch, if it is known.

    Raises:
        RunError: its metrics.json is damaged.
    """
    path = Path(run) / "metrics.json"
    if not path.is_file():
        return "score", None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        name = str(found["monitor"])
        return name, found["epochs"][found["best_epoch"] - 1][name]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise RunError(f"{path} is damaged: {error}; train again") from error


def _batches(recipe: Recipe, split: Any, most: int) -> list[tuple[Tensor, Tensor]]:
    """Return the first batches of the training set."""
    loader, _ = loaders(recipe, split)
    return [(batch[0], batch[-1]) for batch in islice(loader, most)]


def _example(batches: Sequence[tuple[Tensor, Tensor]], batch: int) -> Tensor:
    samples = torch.cat([x for x, _ in batches])
    return samples.repeat(-(-batch // len(samples)), *[1] * (samples.ndim - 1))[:batch]
