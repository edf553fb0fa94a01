"""The three views a radiologist reads, cut from a volume.

Volumes are (D, H, W) with D growing to superior, H to anterior and W to the patient's right.
Radiological convention: in axial and coronal views the patient's right is on the viewer's left;
sagittal views look to the viewer's left.
"""

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["VIEWS", "View", "cut", "fullest_slice", "region", "size_mm"]


@dataclass(frozen=True)
class View:
    """A cut across one axis, and the directions at the edges of its picture.

    Args:
        edges: Left, right, top, bottom.
    """

    name: str
    axis: int
    edges: str


VIEWS = (
    View("Axial", 0, "RLAP"),
    View("Coronal", 1, "RLSI"),
    View("Sagittal", 2, "APSI"),
)


def cut(volume_DHW: np.ndarray, view: View, index: int) -> np.ndarray:
    """Return one slice as a picture: row 0 on top, column 0 on the viewer's left.

    Superior, anterior and right all grow with the index, and belong on top or on the left.
    """
    return np.flip(volume_DHW.take(index, axis=view.axis))


def size_mm(shape: tuple[int, ...], spacing: tuple[float, ...], view: View) -> tuple[float, float]:
    """Width and height of a view."""
    height, width = (shape[axis] * spacing[axis] for axis in range(3) if axis != view.axis)
    return width, height


def region(label_DHW: np.ndarray, spacing: tuple[float, ...]) -> tuple[slice, ...]:
    """Return the box around all foreground with a margin; everything if there is none.

    The margin is an eighth of the box, and 15 mm at least.
    """
    found = np.nonzero(label_DHW)
    if not len(found[0]):
        return tuple(slice(0, size) for size in label_DHW.shape)
    box = []
    for places, step, size in zip(found, spacing, label_DHW.shape, strict=True):
        first, last = int(places.min()), int(places.max()) + 1
        room = max(math.ceil(15 / step), (last - first) // 8)
        box.append(slice(max(first - room, 0), min(last + room, size)))
    return tuple(box)


def fullest_slice(label_DHW: np.ndarray, view: View) -> int:
    """Return the slice with the most foreground; of several equal ones, the middle one."""
    others = tuple(axis for axis in range(3) if axis != view.axis)
    voxels = (label_DHW > 0).sum(axis=others)
    fullest = np.flatnonzero(voxels == voxels.max())
    return int(fullest[len(fullest) // 2])
