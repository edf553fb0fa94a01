"""Evaluate a run, or two on the same cases: scores, intervals, a table and a report."""

import csv
import io
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lean3d.errors import RunError
from lean3d.files import check_outputs, write_text
from lean3d.lock import held
from lean3d.processes import agreed, by_first, in_turn, joined, place, started, to_start
from lean3d.recipes.evaluation.base import Evaluation, Row, Scored, open_run
from lean3d.recipes.evaluation.pages import write_report
from lean3d.recipes.evaluation.settings import Settings
from lean3d.recipes.evaluation.store import Store, dropped_if_empty
from lean3d.recipes.places import check_there
from lean3d.report import json_line
from lean3d.signals import check_stopped

__all__ = ["Result", "evaluate"]

Told = Callable[[str], None]


@dataclass(frozen=True)
class Result:
    """A finished evaluation.

    Args:
        summary: One row for each class, and the mean.
        columns: Keys and headers of the columns that fit a terminal.
        scored: The cases, worst first.
        comparison: One row for each class and score, if two runs were compared.
        notes: Sentences on what the scores do not say by themselves.
        facts: Plain values of all but the cases, as in summary.json.
        out: Folder of scores.csv, summary.json and report.html.
    """

    summary: list[Row]
    columns: dict[str, str]
    scored: dict[str, Scored]
    comparison: list[Row]
    notes: list[str]
    facts: dict[str, Any]
    out: Path


def evaluate(
    run: str | Path,
    *,
    data: str | None = None,
    against: str | Path | None = None,
    out: str | Path | None = None,
    settings: Settings | None = None,
    tell: Told = lambda line: None,
    devices: int | None = None,
    nodes: int | None = None,
) -> Result:
    """Score a run case by case; cases that were scored before, in the same way, are not again.

    Args:
        run: Folder of the run, whose best weights are used.
        data: Labelled data; by default the cases that the run held out.
        against: Another run of the same classes, scored on the same cases and compared in pairs.
        out: Folder for the results; evaluation/ in the run by default.
        tell: Called with one line of progress a case.
        devices: Processes on every machine that share the cases, one for each GPU; those that
            torchrun started, or one, by default. Others are started here, and tell on stderr.
        nodes: Machines. Run, data and results are on a disk that they share.

    Raises:
        RunError: there is no case, the two runs have other classes, or a setting is not of the
            task.
    """
    settings = settings or Settings()
    settings.check()
    asked: dict[str, Any] = dict(data=data, against=against, out=out, settings=settings)
    if to_start(devices, nodes):
        # the check is quick, and what it refuses needs no processes
        open_run(run, settings)
        started(_share, (run,), asked, devices)
        # all cases are scored: what is left is to sum them up
        return _evaluate(run, **asked, tell=lambda line: None)
    with joined(devices, nodes):
        return _evaluate(run, **asked, tell=tell if place().first else lambda line: None)


def _share(run: str | Path, **asked: Any) -> None:
    """Score this process's share of the cases."""
    told = (lambda line: print(line, file=sys.stderr, flush=True)) if place().first else None
    _evaluate(run, **asked, tell=told or (lambda line: None), only_score=True)


def _evaluate(
    run: str | Path,
    data: str | None,
    against: str | Path | None,
    out: str | Path | None,
    settings: Settings,
    tell: Told,
    only_score: bool = False,
) -> Any:
    own = place()
    if own.size > 1 and str(settings.device).startswith("cuda"):
        settings = replace(settings, device=f"cuda:{own.local}")
    opened = settings
    first = in_turn(lambda: open_run(run, opened))
    other = replace(opened, precision="float32")
    second = None if against is None else in_turn(lambda: open_run(against, other))
    if second is not None:
        _check_pair(first, second)
    out = Path(out) if out is not None else first.folder / "evaluation"
    if data is None:
        check_there(first.recipe, first.folder)
    cases = in_turn(lambda: first.cases(data))
    if not cases:
        raise RunError(f"{data or first.folder} has no labelled case to evaluate on")
    notes = _notes(first, second, [case.name for case in cases])
    with ExitStack() as stack:
        agreed(lambda: _begin(stack, out))
        store = agreed(lambda: Store(out, first))
        agreed(lambda: _check(first, store, cases[own.rank :: own.size]))
        tell(f"{len(cases)} case(s) of {data or first.recipe.data}, results in {out}")
        _load(first, store, cases)
        scored = _score(first, store, cases, tell)
        order = sorted(scored, key=lambda name: _worst_first(first.rank(scored[name])))
        scored = {name: scored[name] for name in order}
        others: dict[str, Scored] = {}
        if second is not None:
            tell(f"now {second.folder}")
            store = agreed(lambda: Store(out / "against", second))
            _load(second, store, cases)
            others = _score(second, store, cases, tell)
        if only_score:
            return None
        comparison = [] if second is None else first.compare(scored, others)
        summary = first.summary(scored)
        facts = _facts(first, second, scored, {"summary": summary, "comparison": comparison})
        facts |= {"notes": notes, "report": str(out / "report.html")}
        result = Result(summary, first.columns(), scored, comparison, notes, facts, out)
        agreed(lambda: _write(result, first, second, others, data) if own.first else None)
    return result


def _begin(stack: ExitStack, out: Path) -> None:
    """Lock the folder of the results, in the first process for all."""
    if place().first:
        stack.enter_context(held(out))
        stack.enter_context(dropped_if_empty(out))
        check_outputs({"--out": out / "report.html"})


def _load(evaluation: Evaluation, store: Store, cases: Sequence[Any]) -> None:
    """Load the network, one process after the other, if a case has no scores yet."""
    if by_first(lambda: any(store.get(case.name, case.stamp) is None for case in cases)):
        in_turn(lambda: evaluation.model)


def _check(evaluation: Evaluation, store: Store, cases: Sequence[Any]) -> None:
    """Refuse cases that cannot be scored, before the first one takes its time."""
    for case in cases:
        check_stopped()
        if store.get(case.name, case.stamp) is None:
            evaluation.check(case)


def _write(
    result: Result,
    first: Evaluation,
    second: Evaluation | None,
    others: dict[str, Scored],
    data: str | None,
) -> None:
    out = result.out
    write_text(out / "scores.csv", _csv(first, result.scored, others))
    write_text(out / "summary.json", json_line(result.facts) + "\n")
    write_report(out / "report.html", result, first, second, others, data)


def _score(
    evaluation: Evaluation, store: Store, cases: Sequence[Any], tell: Told
) -> dict[str, Scored]:
    """Return the scores of all cases; of several processes each computes its share of them."""
    own = place()
    if own.size > 1:
        agreed(lambda: _score_each(evaluation, store, cases[own.rank :: own.size], tell))
        # the others' are in the store
        tell = lambda line: None  # noqa: E731
    return by_first(lambda: _score_each(evaluation, store, cases, tell))


def _score_each(
    evaluation: Evaluation, store: Store, cases: Sequence[Any], tell: Told
) -> dict[str, Scored]:
    scored: dict[str, Scored] = {}
    for number, case in enumerate(cases, 1):
        check_stopped()
        started, found = time.perf_counter(), store.get(case.name, case.stamp)
        if found is None:
            found = evaluation.score(case, store.kept(case.name))
            store.put(case.name, case.stamp, found)
            took = f"{time.perf_counter() - started:.1f} s"
        else:
            took = "scored before"
        scored[case.name] = found
        title, value = evaluation.scores[evaluation.main].title, evaluation.main_score(found)
        tell(f"{number}/{len(cases)}  {case.name}  {title} {value:.3f}  ({took})")
    return scored


def _worst_first(score: float) -> tuple[bool, float]:
    """Cases without a score come last."""
    return (bool(np.isnan(score)), score)


def _check_pair(first: Evaluation, second: Evaluation) -> None:
    if type(first) is not type(second) or first.recipe.scored_names != second.recipe.scored_names:
        names = [", ".join(one.recipe.scored_names[:6]) for one in (first, second)]
        raise RunError(
            f"{first.folder} ({first.recipe.task} of {names[0]}) and {second.folder} "
            f"({second.recipe.task} of {names[1]}) do not have the same classes to compare"
        )


def _notes(first: Evaluation, second: Evaluation | None, names: list[str]) -> list[str]:
    notes = [note for note in (first.moved, first.unsized) if note]
    for one in (first, second):
        if one is not None and (seen := one.trained_on() & set(names)):
            some = ", ".join([*sorted(seen)[:3], *(["..."] if len(seen) > 3 else [])])
            notes.append(
                f"{one.folder} was trained on {len(seen)} of these {len(names)} cases ({some}): "
                "its scores are too high"
            )
    if len(names) < 5:
        notes.append(f"{len(names)} case(s) are few: intervals and tests over them mean little")
    return notes


def _csv(first: Evaluation, scored: Mapping[str, Scored], others: Mapping[str, Scored]) -> str:
    """Return one line for each case and class, worst case first."""
    rows = []
    for name, one in scored.items():
        pairs = zip(one.rows, others[name].rows if others else one.rows, strict=True)
        for row, other in pairs:
            line = {"case": name, **row}
            if others:
                line |= {f"against_{key}": other.get(key) for key in first.scores}
            rows.append(line)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(k for r in rows for k in r)), restval="")
    writer.writeheader()
    writer.writerows({k: "" if v != v else v for k, v in row.items()} for row in rows)
    return text.getvalue()


def _facts(
    first: Evaluation,
    second: Evaluation | None,
    scored: Mapping[str, Scored],
    tables: dict[str, list[Row]],
) -> dict[str, Any]:
    return {
        "run": str(first.folder),
        "against": None if second is None else str(second.folder),
        "cases": len(scored),
        "worst": next(iter(scored)),
        **tables,
    }
