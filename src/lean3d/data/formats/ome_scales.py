"""The scales of an OME-Zarr image: which array each is, its axes, and where its voxels lie.

Format: OME-NGFF 0.4 and 0.5, `multiscales`. An array has named axes in any order; the
transformations of a scale, then those of the image, take its voxels to a place.

Axes: D depth (z), H height (y), W width (x).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lean3d.data.formats.lengths import millimetres

__all__ = ["OmeScale", "coarser", "ome_scale"]


@dataclass(frozen=True)
class OmeScale:
    """One array of an image.

    Args:
        path: Of the array in the group.
        axes: Names of its axes, such as t, c, z, y, x; of older files, which name none, the last of
            these.
        spacing_mm: Along D, H, W, if the file says it in a unit of length.
        first: Place of the first voxel along D, H, W, in voxels; None if the file says none.
    """

    path: str = ""
    axes: tuple[str, ...] = ()
    spacing_mm: list[float] | None = None
    first: tuple[int, int, int] | None = None


def ome_scale(attributes: Mapping[str, Any], name: str | None = None) -> OmeScale | None:
    """Return the scale of this path, or the finest; None if the group is no such image."""
    image = _image(attributes)
    scales = {str(one["path"]): one for one in image.get("datasets", ())}
    one = scales.get(name or next(iter(scales), ""))
    if one is None:
        return None
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in image.get("axes", ())]
    axes = axes or [{"name": axis} for axis in "tczyx"]
    names = tuple(str(axis.get("name")).lower() for axis in axes)
    scale = OmeScale(str(one["path"]), names)
    moves = [*one.get("coordinateTransformations", ()), *image.get("coordinateTransformations", ())]
    steps, place = _moved(moves, len(names))
    if steps is None or not {"z", "y", "x"} <= set(names):
        return scale
    order = [names.index(axis) for axis in "zyx"]
    units = np.array([millimetres(axes[a].get("unit")) or 0.0 for a in order])
    sides = steps[order] * units
    if not min(sides) > 0:
        return scale
    first = None
    if place is not None:
        depth, height, width = np.rint(place[order] / steps[order]).astype(int).tolist()
        first = (depth, height, width)
    return OmeScale(scale.path, names, sides.tolist(), first)


def coarser(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the paths of all scales but the first, of those that can be named."""
    paths = [str(one["path"]) for one in _image(attributes).get("datasets", ())]
    return tuple(path for path in paths[1:] if "/" not in path)


def _image(attributes: Mapping[str, Any]) -> dict[str, Any]:
    images = attributes.get("ome", attributes).get("multiscales") or [{}]
    return images[0]


def _moved(
    moves: Sequence[Mapping[str, Any]], rank: int
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return the step of a voxel, and the place of the first one, each if a move says it."""
    steps, place = np.ones(rank), np.zeros(rank)
    scaled = placed = False
    for move in moves:
        if len(scale := move.get("scale", ())) == rank:
            steps, place, scaled = steps * scale, place * scale, True
        elif len(shift := move.get("translation", ())) == rank:
            place, placed = place + shift, True
    return (steps if scaled else None), (place if placed else None)
