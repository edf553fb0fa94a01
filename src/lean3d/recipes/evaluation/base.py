"""What a task brings to `lean3d evaluate`: its cases, the scores of one, pages of the report."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
from torch import nn

from lean3d.errors import LeanError, RunError
from lean3d.metrics import bootstrap_interval
from lean3d.plugins import Registry
from lean3d.recipes.base import Recipe
from lean3d.recipes.evaluation.compare import compare_runs
from lean3d.recipes.evaluation.settings import Settings
from lean3d.recipes.fast import fast_network
from lean3d.recipes.load import load_run, read_record
from lean3d.recipes.places import is_there, same_data
from lean3d.report import Section

__all__ = [
    "Evaluation",
    "Named",
    "Row",
    "Score",
    "Scored",
    "open_run",
    "register_evaluation",
]

Row = dict[str, Any]
# settings that every task uses; only the precision is meant to change a score
OF_ALL = ("batch_size", "device", "optimize", "precision")


class Named(Protocol):
    """A case: anything with a name, and with a stamp that changes when its data do."""

    @property
    def name(self) -> str: ...

    @property
    def stamp(self) -> str: ...


@dataclass(frozen=True)
class Score:
    """A score of a case.

    Args:
        title: Header of its column, with the unit.
        best: Which values are good: the "max", the "min", or those nearest to "zero".
    """

    title: str
    best: str = "max"


@dataclass(frozen=True)
class Scored:
    """The scores of one case.

    Args:
        rows: One for each class, or a single one; with the keys of the scores. Plain values.
        more: What the pages of the report need besides. Plain values.
    """

    rows: list[Row]
    more: dict[str, Any] = field(default_factory=dict)


class Evaluation(ABC):
    """A finished run, scored case by case.

    Args:
        folder: The run.

    Attributes:
        main: Key of the score that ranks the cases.
        group: Key of the rows by which they are summed up, such as "class".
        uses: The settings that the task uses, besides those that every task does.
        held_out: Whether the cases, once they are found, are those that the run kept apart.
        moved: A sentence, if the run's own data were found in another place than they had.
        unsized: A sentence, if no file says how large its voxels are.
    """

    main: str
    group: str = "class"
    uses: ClassVar[tuple[str, ...]] = ()
    held_out = False
    moved = ""
    unsized = ""

    def __init__(self, folder: Path, settings: Settings):
        if odd := settings.changed() - {*self.uses, *OF_ALL}:
            flag = min(odd).replace("_", "-")
            raise RunError(f"{folder}: --{flag} is not for this run, whose task does not use it")
        self.folder, self.settings = folder, settings
        self.record = read_record(folder)
        self.recipe: Any = Recipe.from_dict(self.record["recipe"])

    @cached_property
    def model(self) -> nn.Module:
        """The network with the run's best weights, loaded when it is first asked for."""
        model, _ = load_run(self.folder)
        if not self.settings.optimize:
            return model
        return fast_network(model, self.folder, self.settings.precision)

    @property
    @abstractmethod
    def scores(self) -> Mapping[str, Score]:
        """The scores of the rows, by key; the first is usually the main one."""

    @abstractmethod
    def cases(self, data: str | None) -> Sequence[Any]:
        """Return the cases: those held out in the run, or all labelled ones of `data`."""

    def own(self, data: str | None, split: Callable[[Any], Sequence[Any]]) -> Any:
        """Return the recipe if `data` are its own, with their present place; None for others.

        Args:
            split: Returns the cases kept apart of a recipe's data; refuses data without a case that
                the run knows.
        """
        recipe = self.recipe
        if data is not None and not same_data(data, recipe.data):
            if is_there(recipe.data) or not self.record.get("split"):
                return None
            recipe = replace(recipe, data=data)
            try:
                split(recipe)
            except LeanError:
                return None
            self.moved = (
                f"{data} has the cases of {self.recipe.data}, which is not there any more: those "
                f"that {self.folder} held out are scored"
            )
        self.held_out = True
        return recipe

    def check(self, case: Any) -> None:
        """Refuse a case that could not be scored, as far as that is seen without predicting it."""
        return

    @abstractmethod
    def score(self, case: Any, kept: Path) -> Scored:
        """Predict a case and score it.

        Args:
            kept: Where to write a file of the prediction, with a suffix added; its folder exists.
        """

    def trained_on(self) -> set[str]:
        """Return the names of the cases that the run was trained on, as far as they are known."""
        split = self.record.get("split")
        return set(split["train"]) if isinstance(split, dict) else set()

    def titles(self) -> dict[str, str]:
        """Return the keys and headers of the summary in the report, after the main score."""
        return {key: score.title for key, score in self.scores.items()} | {"cases": "cases"}

    def row_titles(self) -> dict[str, str]:
        """Return the keys and headers of a row of a case in the report."""
        return {self.group: self.group, **{key: s.title for key, s in self.scores.items()}}

    def columns(self) -> dict[str, str]:
        """Return the keys and headers of the table in a terminal, at most 80 columns wide."""
        return {self.group: self.group, **{key: s.title for key, s in self.scores.items()}}

    def summary(self, scored: Mapping[str, Scored]) -> list[Row]:
        """Return one row for each group, and their mean, with 95 % intervals over the cases."""
        groups = list(dict.fromkeys(row[self.group] for s in scored.values() for row in s.rows))
        rows = [self.sum_up(name, _of_group(scored, self.group, name)) for name in groups]
        if len(groups) > 1:
            rows.append(self.sum_up("mean", [self.mean_row(one) for one in scored.values()]))
        return rows

    def sum_up(self, name: str, rows: list[Row]) -> Row:
        """Return the means of rows, one a case, and the interval of the main score."""
        values = {key: [_number(row.get(key)) for row in rows] for key in self.scores}
        found = {key: bootstrap_interval(of_cases) for key, of_cases in values.items()}
        main = found[self.main]
        return {
            self.group: name,
            **{key: interval.value for key, interval in found.items()},
            "low": main.low,
            "high": main.high,
            "interval": f"{main.low:.3f}-{main.high:.3f}" if main.num > 1 else "-",
            "cases": main.num,
        }

    def mean_row(self, scored: Scored) -> Row:
        """Return the scores of a case, means over its groups; NaN where no group has one."""
        return {key: _mean([_number(row.get(key)) for row in scored.rows]) for key in self.scores}

    def main_score(self, scored: Scored) -> float:
        """Return the main score of a case, as it is told; NaN if it has none."""
        return self.mean_row(scored)[self.main]

    def rank(self, scored: Scored) -> float:
        """Return what orders the cases, the higher the better; NaN if it has no score."""
        return self.main_score(scored)

    def compare(self, scored: Mapping[str, Scored], others: Mapping[str, Scored]) -> list[Row]:
        """Return the rows of a comparison with another run on the same cases (compare_runs)."""
        return compare_runs(self, scored, others)

    def sections(self, scored: Mapping[str, Scored], kept: Path, data: str | None) -> list[Section]:
        """Return the task's own pages of the report, such as pictures of cases.

        Args:
            scored: The cases, worst first.
            kept: The folder of the predictions.
        """
        return []


def _of_group(scored: Mapping[str, Scored], group: str, name: str) -> list[Row]:
    return [row for one in scored.values() for row in one.rows if row[group] == name]


def _number(value: Any) -> float:
    return np.nan if value is None else float(value)


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else np.nan


Kind = TypeVar("Kind", bound=type[Evaluation])
_KINDS: Registry[type[Evaluation]] = Registry("evaluation", "lean3d.recipes.evaluation.tasks")


def register_evaluation(task: str) -> Callable[[Kind], Kind]:
    """Decorate the evaluation of the runs of a task, and of recipes derived from that task's.

    It may be in another package, see `lean3d.plugins`.
    """

    def register(evaluation: Kind) -> Kind:
        _KINDS.add(task, evaluation)
        return evaluation

    return register


def open_run(folder: str | Path, settings: Settings) -> Evaluation:
    """Return the evaluation of a run by the task in its record.

    Raises:
        RunError: it is no run, its task has no evaluation or does not use one of the settings.
    """
    folder = Path(folder)
    recipe = Recipe.from_dict(read_record(folder)["recipe"])
    for kind in type(recipe).__mro__:
        task = getattr(kind, "task", "")
        if task in _KINDS:
            return _KINDS[task](folder, settings)
    raise RunError(
        f"{folder} learnt {recipe.task}, which has no evaluation; there are: {', '.join(_KINDS)}"
    )
