"""The report of an evaluation: one page that needs no other file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lean3d.recipes.evaluation.base import OF_ALL, Evaluation, Row, Scored
from lean3d.report import Picture, Section, Table, draw_curves, draw_pairs, draw_spread, write_page
from lean3d.report.parts import Part

if TYPE_CHECKING:
    from lean3d.recipes.evaluation.driver import Result

__all__ = ["write_report"]

# rows of the table of cases; all are in scores.csv
SHOWN = 60


def write_report(
    path: Path,
    result: "Result",
    first: Evaluation,
    second: Evaluation | None,
    others: Mapping[str, Scored],
    data: str | None,
) -> None:
    """Write the report atomically."""
    sections = [_summary(result, first, data)]
    if second is not None:
        sections.append(_comparison(result, first, second, others))
    sections += first.sections(result.scored, result.out / "predictions", data)
    sections.append(_cases(result, first))
    if curves := _curves(first, second):
        sections.append(curves)
    write_page(path, f"Evaluation of {first.folder.name}", sections, _facts(first, second))


def _summary(result: "Result", first: Evaluation, data: str | None) -> Section:
    num = len(result.scored)
    intro = (
        f"{num} {'case' if num == 1 else 'cases'} of {data or first.recipe.data}, "
        f"{_kept(result, first, data)}, by the weights of the best epoch of {first.folder}. Means "
        "are over cases; intervals are 95 % bootstrap intervals over cases. scores.csv has every "
        "case, the worst first."
    )
    rows, main = result.summary, first.scores[first.main]
    head = first.columns().get(first.group, first.group)
    found = {key for row in rows for key, value in row.items() if value is not None}
    titles = {first.group: head}
    # where scores are rows, those of volumes classified, the interval has a place of its own
    if first.main in found:
        titles |= {first.main: main.title, "interval": "95 % interval"}
    titles |= {key: title for key, title in first.titles().items() if key not in titles}
    columns = {key: title for key, title in titles.items() if key in found}
    return Section("Scores", [intro, *result.notes, Table(rows, columns), *_spread(result, first)])


def _kept(result: "Result", first: Evaluation, data: str | None) -> str:
    """Say who chose the cases."""
    if data is not None and not first.held_out:
        return "labelled"
    split = first.record.get("split")
    mine = set(split.get("held_out", ())) if isinstance(split, dict) else set()
    tested = mine and not mine & set(result.scored)
    return "kept for a test by the data's authors" if tested else "held out in the run"


def _spread(result: "Result", first: Evaluation) -> list[Part]:
    """Draw the main score of every case, unless there are too few."""
    values: dict[str, list[float]] = {}
    for scored in result.scored.values():
        for row in scored.rows:
            values.setdefault(str(row[first.group]), []).append(row[first.main])
    if len(result.scored) < 3:
        return []
    title = first.scores[first.main].title
    caption = "A dot is a case; the line is the median and the box holds half of the cases."
    return [Picture(draw_spread(values, title), caption)]


def _comparison(
    result: "Result", first: Evaluation, second: Evaluation, others: Mapping[str, Scored]
) -> Section:
    intro = (
        f"{first.folder} (this) against {second.folder} (other) on the same cases. p is of the "
        "two-sided Wilcoxon signed-rank test of the paired differences, the interval the 95 % "
        "bootstrap interval of their mean. Every row is a test of its own: of twenty, one gives "
        "p < 0.05 by chance."
    )
    columns = {first.group: first.group, "this": "this", "other": "other"}
    columns |= {"difference": "difference", "interval": "95 % interval", "p": "p"}
    columns |= {"better": "better", "worse": "worse", "cases": "cases"}
    parts: list[Part] = [intro, *_compared(result.comparison, first.group, columns)]
    pairs = [
        (first.main_score(one), first.main_score(others[name]))
        for name, one in result.scored.items()
    ]
    title = first.scores[first.main].title
    figure = draw_pairs(pairs, f"{title}, {first.folder.name}", f"{title}, {second.folder.name}")
    parts.append(Picture(figure, "A dot is a case; below the line, this run has the higher score."))
    return Section("Comparison", parts)


def _compared(rows: list[Row], group: str, columns: dict[str, str]) -> list[Part]:
    """Return a table for each score, with the digits that its size needs; or one of all scores."""
    if len({row[group] for row in rows}) == 1:
        first, *others = columns.items()
        return [Table(rows, dict([first, ("score", "score"), *others]))]
    tables: dict[str, list[Row]] = {}
    for row in rows:
        tables.setdefault(row["score"], []).append(row)
    return [part for score, own in tables.items() for part in (f"{score}:", Table(own, columns))]


def _cases(result: "Result", first: Evaluation) -> Section:
    rows: list[Row] = []
    for name, scored in result.scored.items():
        rows += [{"case": name, **row} for row in scored.rows]
    titles = {"case": "case", **first.row_titles()}
    columns = {key: title for key, title in titles.items() if any(key in row for row in rows)}
    parts: list[Part] = [Table(rows[:SHOWN], columns)]
    if len(rows) > SHOWN:
        parts.insert(0, f"The {SHOWN} worst of {len(rows)} rows; scores.csv has all.")
    return Section("Cases, worst first", parts)


def _curves(first: Evaluation, second: Evaluation | None) -> Section | None:
    runs = {one.folder.name: one for one in (first, second) if one is not None}
    found = {name: _epochs(one.folder) for name, one in runs.items()}
    if not any(found.values()):
        return None
    monitor = _metrics(first.folder).get("monitor", "val_dice")
    return Section("Training", [Picture(draw_curves(found, score=monitor))])


def _epochs(folder: Path) -> list[Row]:
    rows = _metrics(folder).get("epochs", [])
    return rows if isinstance(rows, list) else []


def _metrics(folder: Path) -> dict[str, Any]:
    try:
        read = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # the weights can be evaluated without
    return read if isinstance(read, dict) else {}


def _facts(first: Evaluation, second: Evaluation | None) -> dict[str, object]:
    sessions = first.record.get("sessions") or [{}]
    return {
        "run": str(first.folder),
        "against": None if second is None else str(second.folder),
        "settings": {
            name: value
            for name, value in vars(first.settings).items()
            if value is not None and name in (*first.uses, *OF_ALL)
        },
        "recipe": {k: v for k, v in first.recipe.to_dict().items() if v is not None},
        "trained by": sessions[-1],
    }
