"""Truth, prediction and errors over the image, in the three views."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lean3d.errors import ShapeError
from lean3d.report.drawing import color, new_figure
from lean3d.report.panel import draw_classes, draw_edges, draw_grey, draw_scale
from lean3d.report.sheet import Sheet, legend, name_columns, name_row
from lean3d.report.views import VIEWS, cut, fullest_slice, region, size_mm
from lean3d.report.window import tissue_window

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_overlay", "error_map"]

# the far end of the palette, which few classes reach
MISSED, ADDED, MIXED = 1, 2, 3
ERRORS = {MISSED: "#D55E00", ADDED: "#F0E442", MIXED: "#CC79A7"}
ERROR_NAMES = ("missed", "added", "wrong class")


def draw_overlay(
    image_DHW: object,
    truth_DHW: object,
    pred_DHW: object,
    *,
    spacing: Sequence[float] | None = None,
    class_names: Sequence[str] | None = None,
    window: tuple[float, float] | None = None,
) -> "Figure":
    """Axial, coronal and sagittal slices: truth, prediction, and where they differ.

    Each view shows the slice where the truth has most foreground, around the labelled region, in
    radiological convention and true proportions.

    Args:
        image_DHW: Tensor or array; D grows to superior, H to anterior, W to the patient's right.
        spacing: Millimetres between voxels along D, H, W; unknown by default, voxels are cubes.
        class_names: All of them, the background first; the labels' numbers by default.
        window: Grey values that are black and white; by default those of the labelled tissue and
            of what is around it (tissue_window).

    Raises:
        ShapeError: the three are not volumes of one shape.
    """
    image, truth, pred = (_array(volume) for volume in (image_DHW, truth_DHW, pred_DHW))
    if not (image.ndim == 3 and image.shape == truth.shape == pred.shape):
        raise ShapeError(
            "draw_overlay takes image, truth and prediction of one shape (D, H, W), got "
            f"{image.shape}, {truth.shape} and {pred.shape}"
        )
    names = list(class_names or map(str, range(int(max(truth.max(), pred.max())) + 1)))
    step = _spacing(spacing or (1, 1, 1))
    box = region((truth > 0) | (pred > 0), step)
    errors = error_map(truth, pred)
    window = window or tissue_window(image, np.maximum(truth, pred))
    sheet = Sheet(tuple(size_mm(truth[box].shape, step, view) for view in VIEWS))
    figure = new_figure(*sheet.size)
    classes = {label: color(label - 1) for label in range(1, len(names))}
    columns = [(truth[box], classes, 0.2), (pred[box], classes, 0.2), (errors[box], ERRORS, 0.6)]
    for row, view in enumerate(VIEWS):
        index = fullest_slice(truth[box], view)
        grey = cut(image[box], view, index)
        panels = [figure.add_axes(sheet.place(row, i), facecolor="black") for i in range(3)]
        for axes, (labels, paint, fill) in zip(panels, columns, strict=True):
            draw_grey(axes, grey, window, sheet.views[row])
            draw_classes(axes, cut(labels, view, index), paint, sheet.views[row], fill)
            draw_edges(axes, view)
        if row == sheet.largest:
            draw_scale(panels[2], sheet.views[row], "mm" if spacing else "voxels")
        number = box[view.axis].start + index + 1
        name_row(figure, sheet, row, f"{view.name}\n{number} of {truth.shape[view.axis]}")
    labelled = max(int(((truth > 0) | (pred > 0)).sum()), 1)
    wrong = f"Errors: {(errors > 0).sum() / labelled:.1%} of the labelled voxels"
    name_columns(figure, sheet, ("Truth", "Prediction", wrong))
    legend(figure, names[1:], list(classes.values()), 0, 2 / 3)
    legend(figure, ERROR_NAMES, list(ERRORS.values()), 2 / 3, 1)
    return figure


def error_map(truth: np.ndarray, pred: np.ndarray) -> np.ndarray:
    """0 where both agree, else missed (1), added (2), or foreground of the wrong class (3)."""
    kinds = [(truth > 0) & (pred == 0), (truth == 0) & (pred > 0), truth != pred]
    return np.select(kinds, [MISSED, ADDED, MIXED], default=0)


def _array(volume: object) -> np.ndarray:
    return np.asarray(volume.detach().cpu() if hasattr(volume, "detach") else volume)


def _spacing(spacing: Sequence[float]) -> tuple[float, ...]:
    step = tuple(float(length) for length in spacing)
    if len(step) != 3 or not all(0 < length < np.inf for length in step):
        raise ShapeError(f"draw_overlay takes spacing as three lengths in mm, got {spacing!r}")
    return step
