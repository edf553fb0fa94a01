"""The grey values that a picture shows: those of the labelled tissue and of what is around it."""

import numpy as np

__all__ = ["tissue_window"]

# labelled voxels that are read
MOST = 200_000


def tissue_window(image: np.ndarray, label: np.ndarray) -> tuple[float, float]:
    """Return the range of the labelled voxels, widened by its half on both sides.

    A liver in a CT is then shown in a window of soft tissue, a nodule of the lung in one of the
    lung. Without labels it is the range of all voxels but the darkest. Both are from the 1st to the
    99th percentile, and within the range of the image.
    """
    values = image[(label > 0) & np.isfinite(image)]
    widen = 0.5
    if values.size < 2 or values.min() == values.max():
        finite = image[np.isfinite(image)]
        # the empty surroundings would darken the window, whatever their share of the volume
        values, widen = finite[finite > finite.min()] if finite.size else finite, 0.0
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values[:: max(1, values.size // MOST)], (1, 99))
    room = widen * (high - low)
    low, high = max(low - room, np.nanmin(image)), min(high + room, np.nanmax(image))
    return float(low), float(max(high, low + 1e-6))
