"""Place names beside points so that no name covers a point or another name."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

__all__ = ["place_labels"]

GAP = 7
# direction from the point; right and left first, they read best
DIRECTIONS = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)]
HORIZONTAL = {1: "left", 0: "center", -1: "right"}
VERTICAL = {1: "bottom", 0: "center", -1: "top"}


def place_labels(axes: "Axes", points: Sequence[tuple[float, float]], names: Sequence[str]) -> None:
    """Name each point; the axes' limits must be final, positions are tried on the drawn picture.

    A name without a close free place is moved away and gets a thin line to its point.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    taken = [_around(axes, point) for point in points]
    for point, name in zip(points, names, strict=True):
        taken.append(_place(axes, point, name, taken))


def _place(axes: "Axes", point: tuple[float, float], name: str, taken: list["Bbox"]) -> "Bbox":
    """Try every direction near, then increasingly far; keep the place that covers least."""
    tried = []
    for reach in (1, 2.5, 4, 6):
        for direction in DIRECTIONS:
            label = _label(axes, point, name, direction, reach)
            box = label.get_window_extent()
            cost = _covered(box, taken) + _outside(box, axes.get_window_extent())
            label.remove()
            if cost == 0:
                return _label(axes, point, name, direction, reach).get_window_extent()
            tried.append((cost, reach, direction))
    _, reach, direction = min(tried)
    return _label(axes, point, name, direction, reach).get_window_extent()


def _label(axes: "Axes", point: tuple[float, float], name: str, direction, reach) -> "Annotation":
    right, up = direction
    return axes.annotate(
        name,
        point,
        xytext=(GAP * reach * right, GAP * reach * up),
        textcoords="offset points",
        ha=HORIZONTAL[right],
        va=VERTICAL[up],
        fontsize=9,
        arrowprops=dict(arrowstyle="-", color="#999999", linewidth=0.7) if reach > 1 else None,
    )


def _around(axes: "Axes", point: tuple[float, float]) -> "Bbox":
    from matplotlib.transforms import Bbox

    x, y = axes.transData.transform(point)
    return Bbox.from_bounds(x - 5, y - 5, 10, 10)


def _covered(box: "Bbox", taken: list["Bbox"]) -> float:
    from matplotlib.transforms import Bbox

    overlaps = (Bbox.intersection(box, other) for other in taken)
    return sum(overlap.width * overlap.height for overlap in overlaps if overlap)


def _outside(box: "Bbox", frame: "Bbox") -> float:
    inside = type(frame).intersection(box, frame)
    return box.width * box.height - (inside.width * inside.height if inside else 0)
