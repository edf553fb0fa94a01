"""The slices of one DICOM series: in order, with equal steps, and their pixels in real values."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lean3d.errors import DataError
from lean3d.optional import require

__all__ = ["Slice", "check_stack", "frames", "slice_of"]

LOG = logging.getLogger("lean3d")

# directions of two slices that differ by more are two orientations; share of a step
ANGLE, UNEVEN = 1e-3, 0.1
# degrees by which a stack leans before it is said
TILT = 0.5


@dataclass(frozen=True, eq=False)
class Slice:
    """One image: a file, or a frame of one.

    Args:
        place: (3,) of its first pixel, in mm to left, posterior, superior.
        axes: (3, 2), directions of a step along columns and rows.
        spacing: In mm along a column (between rows) and a row.
    """

    file: Path
    frame: int | None
    place: np.ndarray
    axes: np.ndarray
    spacing: tuple[float, float]
    rows: int
    columns: int
    slope: float
    intercept: float

    @property
    def name(self) -> str:
        return self.file.name if self.frame is None else f"frame {self.frame + 1}"


def slice_of(header: Any) -> list[Slice]:
    """Return the image of a header, or its frames."""
    count = int(header.get("NumberOfFrames") or 1)
    if "PerFrameFunctionalGroupsSequence" not in header:
        if count > 1:
            raise DataError(
                f"{header.filename} has {count} frames without positions; export it as one file "
                "a slice, or as an enhanced multi-frame image"
            )
        return [_slice(header, None, lambda name, keyword: header.get(keyword))]
    shared = (header.get("SharedFunctionalGroupsSequence") or [{}])[0]
    found = []
    for place, own in enumerate(header.PerFrameFunctionalGroupsSequence):

        def get(group: str, keyword: str, own: Any = own) -> Any:
            for groups in (own, shared):
                if group in groups and keyword in groups[group].value[0]:
                    return groups[group].value[0][keyword].value
            return header.get(keyword)

        found.append(_slice(header, place, get))
    return found


def _slice(header: Any, frame: int | None, get: Any) -> Slice:
    place = get("PlanePositionSequence", "ImagePositionPatient")
    axes = get("PlaneOrientationSequence", "ImageOrientationPatient")
    spacing = get("PixelMeasuresSequence", "PixelSpacing")
    if place is None or axes is None or spacing is None:
        raise DataError(
            f"{header.filename} has no position, orientation or pixel spacing; it is no slice of a "
            "volume: leave it out"
        )
    slope = get("PixelValueTransformationSequence", "RescaleSlope")
    intercept = get("PixelValueTransformationSequence", "RescaleIntercept")
    return Slice(
        Path(header.filename),
        frame,
        np.array([float(v) for v in place]),
        np.array([float(v) for v in axes]).reshape(2, 3).T,
        (float(spacing[0]), float(spacing[1])),
        int(header.Rows),
        int(header.Columns),
        float(1 if slope is None else slope),
        float(intercept or 0),
    )


def check_stack(slices: list[Slice], path: Path) -> tuple[list[Slice], np.ndarray]:
    """Return the slices in order, and the affine of (column, row, slice) in mm to left, ....

    Raises:
        DataError: they differ in size or orientation, or are not evenly spaced.
    """
    first = slices[0]
    for one in slices:
        if (one.rows, one.columns) != (first.rows, first.columns):
            raise DataError(
                f"{path}: {one.name} has {one.rows} x {one.columns} pixels and {first.name} "
                f"{first.rows} x {first.columns}; give the slices of one volume"
            )
        if abs(one.axes - first.axes).max() > ANGLE or not np.allclose(
            one.spacing, first.spacing, rtol=1e-3
        ):
            raise DataError(
                f"{path}: {one.name} and {first.name} differ in orientation or pixel spacing; "
                "leave out localisers and other views"
            )
    if len(slices) < 2:
        raise DataError(f"{path} holds one slice ({first.name}), no volume; give the whole series")
    normal = np.cross(first.axes[:, 0], first.axes[:, 1])
    slices = sorted(slices, key=lambda one: float(one.place @ normal))
    heights = np.array([one.place @ normal for one in slices])
    _check_steps(slices, heights, path)
    step = (slices[-1].place - slices[0].place) / (len(slices) - 1)
    _tell_tilt(step, normal, path)
    affine = np.eye(4)
    # a step along a row of pixels is one column further
    affine[:3, 0] = first.axes[:, 0] * first.spacing[1]
    affine[:3, 1] = first.axes[:, 1] * first.spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = slices[0].place
    return slices, affine


def _check_steps(slices: list[Slice], heights: np.ndarray, path: Path) -> None:
    steps = np.diff(heights)
    usual = float(np.median(steps))
    if (double := steps < max(UNEVEN * usual, 1e-3)).any():
        at = int(np.flatnonzero(double)[0])
        raise DataError(
            f"{path}: {slices[at].name} and {slices[at + 1].name} lie in one place, at "
            f"{heights[at]:.1f} mm{_more(int(double.sum()) - 1)}; leave one of each out, or give "
            "one echo or time point"
        )
    if (far := abs(steps / usual - 1) > UNEVEN).any():
        at = int(np.flatnonzero(far)[0])
        raise DataError(
            f"{path}: slices are missing, or unevenly spaced: {steps[at]:.4g} mm between "
            f"{slices[at].name} and {slices[at + 1].name}, {usual:.4g} mm elsewhere; add them or "
            "resample the scan"
        )


def _more(pairs: int) -> str:
    return f", as do {pairs} more pair{'s' * (pairs > 1)}" if pairs else ""


def _tell_tilt(step: np.ndarray, normal: np.ndarray, path: Path) -> None:
    cosine = float(step @ normal / np.linalg.norm(step))
    angle = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    if angle > TILT:
        LOG.warning(
            "%s: the gantry was tilted by %.1f degrees; slices are used as they lie, and positions "
            "in the mask's header lean with them",
            path,
            angle,
        )


def frames(slices: list[Slice]) -> np.ndarray:
    """Read the pixels, (slices, rows, columns) float32, scaled as each file says."""
    pydicom = require("pydicom", extra="volume")
    pages, cache = [], {}
    for one in slices:
        try:
            if one.frame is None:
                page = pydicom.dcmread(one.file).pixel_array
            else:
                if one.file not in cache:
                    cache[one.file] = pydicom.dcmread(one.file).pixel_array
                page = cache[one.file].reshape(-1, one.rows, one.columns)[one.frame]
        except Exception as error:
            why = " ".join(str(error).split())[:160]
            raise DataError(
                f"the pixels of {one.file} cannot be read ({why}); copy it again, or decompress it"
            ) from error
        if page.shape != (one.rows, one.columns):
            raise DataError(f"{one.file} holds colours, not one value a pixel; give a grey series")
        pages.append(page.astype(np.float32) * one.slope + one.intercept)
    return np.stack(pages)
