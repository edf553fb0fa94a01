"""Clean a mask: the largest piece of each class, holes filled.

Axes: D depth, H height, W width.
"""

from collections.abc import Iterator

import numpy as np

from lean3d.optional import require

__all__ = ["fill_holes", "keep_largest"]


def keep_largest(label_DHW: np.ndarray) -> np.ndarray:
    """Keep of each class its largest piece; the others become background, class 0.

    Voxels of one piece touch by a face, an edge or a corner.
    """
    ndimage = require("scipy.ndimage", extra="volume")
    kept = label_DHW.copy()
    for number, box in _boxes(label_DHW):
        inside = label_DHW[box] == number
        pieces, count = ndimage.label(inside, np.ones((3, 3, 3)))
        if count > 1:
            largest = np.bincount(pieces.ravel())[1:].argmax() + 1
            kept[box][inside & (pieces != largest)] = 0
    return kept


def fill_holes(label_DHW: np.ndarray) -> np.ndarray:
    """Give background that a class encloses on all sides to that class."""
    ndimage = require("scipy.ndimage", extra="volume")
    filled = label_DHW.copy()
    for number, box in _boxes(label_DHW):
        holes = ndimage.binary_fill_holes(label_DHW[box] == number)
        filled[box][holes & (label_DHW[box] == 0)] = number
    return filled


def _boxes(label_DHW: np.ndarray) -> Iterator[tuple[int, tuple[slice, ...]]]:
    """The foreground classes of a mask, and the box around each."""
    find = require("scipy.ndimage", extra="volume").find_objects
    found = enumerate(find(label_DHW.astype(np.int32)), 1)
    yield from ((number, box) for number, box in found if box is not None)
