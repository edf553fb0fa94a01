"""Pictures of the worst, the median and the best case, with the errors of each class."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from lean3d.data import Volume
from lean3d.recipes.evaluation.base import Evaluation, Row, Scored
from lean3d.report import Picture, Section, Table, draw_overlay

__all__ = ["case_sections", "chosen_cases"]

# names that a legend holds
COLOURS = 8

Read = Callable[[str], tuple[Volume, Tensor]]


def chosen_cases(evaluation: Evaluation, scored: Mapping[str, Scored]) -> dict[str, str]:
    """Return the worst, the median and the best case, each once; cases without a score are none.

    Args:
        scored: The cases, worst first.
    """
    known = [name for name, one in scored.items() if np.isfinite(evaluation.rank(one))]
    if not known:
        return {}
    chosen = {known[0]: "worst", known[len(known) // 2]: "median", known[-1]: "best"}
    if len(known) == 1:
        return {known[0]: "only"}
    # of two cases the second is the median and the best
    return {known[0]: "worst", **{name: what for name, what in chosen.items() if name != known[0]}}


def case_sections(
    evaluation: Evaluation, scored: Mapping[str, Scored], read: Read
) -> list[Section]:
    """Return a section for each chosen case: three planes, and a table of its classes."""
    sections = []
    for name, what in chosen_cases(evaluation, scored).items():
        volume, pred = read(name)
        window = _window(evaluation)
        assert volume.label is not None
        truth, pred, names = _that_occur(volume.label, pred, evaluation.recipe.names)
        figure = draw_overlay(
            volume.image[0],
            truth,
            pred,
            spacing=volume.spacing,
            class_names=names,
            window=window,
        )
        shown = "the labelled tissue" if window is None else f"{window[0]:g} to {window[1]:g}"
        caption = f"{name}: truth, prediction and errors; grey values of {shown}."
        table = _errors(evaluation, scored[name].rows)
        title = f"The {what} case: {name}"
        sections.append(Section(title, [Picture(figure, caption, "png"), table]))
    return sections


def _that_occur(
    truth: Tensor, pred: Tensor, names: Sequence[str]
) -> tuple[Tensor, Tensor, list[str]]:
    """Renumber what occurs where there are more names than colours, as combinations of masks."""
    if len(names) <= COLOURS:
        return truth, pred, list(names)
    values = torch.cat([torch.zeros(1, dtype=torch.long), truth.unique(), pred.unique()]).unique()
    numbers = [torch.searchsorted(values, label.contiguous()) for label in (truth, pred)]
    return numbers[0], numbers[1], [names[value] for value in values.tolist()]


def _window(evaluation: Evaluation) -> tuple[float, float] | None:
    """Return the intensity window of the run, such as the Hounsfield units of a CT."""
    window = evaluation.recipe.hu
    return None if window is None else (float(window[0]), float(window[1]))


def _errors(evaluation: Evaluation, rows: list[Row]) -> Table:
    """Return the scores of each class, and the voxels missed and added."""
    titles = {key: score.title for key, score in evaluation.scores.items()}
    more = {"voxels_missed": "missed voxels", "voxels_added": "added voxels"}
    columns = {evaluation.group: evaluation.group, **titles, **more}
    return Table([row for row in rows if row.get("occurs") != "absent"], columns)
