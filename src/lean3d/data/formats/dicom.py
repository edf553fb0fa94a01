"""Folders of DICOM slices, and multi-frame files, through pydicom.

Axes: D along the normal of the slices, H rows, W columns; then turned to superior, anterior, right.
"""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from lean3d.data.formats.dicom_slices import Slice, check_stack, frames, slice_of
from lean3d.data.formats.registry import Scan, register_reader
from lean3d.data.grid import Grid
from lean3d.errors import DataError
from lean3d.optional import require

__all__ = ["open_dicom", "read_headers", "read_stack"]


def _is_dicom(start: bytes) -> bool:
    return start[128:132] == b"DICM"


def _has_dicom(folder: Path) -> bool:
    """Whether one of the first files is DICOM; scanners give them any name, or none."""
    files = [path for path in sorted(folder.glob("*"))[:8] if path.is_file()]
    return any(_starts(path) for path in files)


def _starts(path: Path) -> bool:
    with path.open("rb") as file:
        return _is_dicom(file.read(132))


@register_reader("DICOM", ".dcm", ".dicom", ".ima", folder=_has_dicom, magic=_is_dicom)
def open_dicom(path: Path, inside: str | None = None) -> Scan:
    """Open the series of a folder, or a file with several frames.

    Args:
        inside: Number of the series in the list that the error shows, or its UID.

    Raises:
        DataError: there are several series; slices are missing, double, or differ in size or
            orientation.
    """
    headers = read_headers(path)
    series = _choose(headers, path, inside)
    slices = [one for header in series for one in slice_of(header)]
    slices, affine_lps = check_stack(slices, path)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_lps
    first = slices[0]
    grid = Grid.at(affine, (first.columns, first.rows, len(slices)))
    modality = str(getattr(series[0], "Modality", "")) or None

    def load(planes: slice) -> np.ndarray:
        pages = frames(slices)
        return grid.turn(pages.transpose(2, 1, 0)[..., None])[:, planes]

    return Scan(grid, 1, np.dtype(np.float32), load, modality=modality)


def read_stack(path: Path, inside: str | None = None) -> list[Slice]:
    """Return the slices of a series, in the order in which `open_dicom` stacks them."""
    series = _choose(read_headers(path), path, inside)
    return check_stack([one for header in series for one in slice_of(header)], path)[0]


def read_headers(path: Path) -> list[Any]:
    """Return the headers of all DICOM images of a folder, or of one file."""
    pydicom = require("pydicom", extra="volume")
    files = sorted(p for p in path.glob("*") if p.is_file()) if path.is_dir() else [path]
    headers, others = [], []
    for file in files:
        if not file.is_file():
            raise DataError(f"{file} does not exist or is not a file; check the path")
        if path.is_dir() and not _starts(file):
            others.append(file)
            continue
        try:
            header = pydicom.dcmread(file, stop_before_pixels=True)
        except Exception as error:
            raise DataError(f"{file} cannot be read as DICOM ({error}); copy it again") from error
        header.filename = str(file)
        if "Rows" in header and "Columns" in header:
            headers.append(header)
    known = {_pattern(Path(header.filename)) for header in headers}
    for file in others:
        # without it, the series would have a slice less
        if _pattern(file) in known:
            raise DataError(
                f"{file} is no DICOM file and is called as one of them; it is damaged: copy it "
                "again, or move it away"
            )
    if not headers:
        raise DataError(f"{path} holds no DICOM image; give the folder of one series")
    return headers


def _pattern(file: Path) -> str:
    """The name of a file without its numbers."""
    return re.sub(r"\d+", "0", file.name)


def _choose(headers: list[Any], path: Path, inside: str | None) -> list[Any]:
    """Return the headers of one series."""
    counts = Counter(str(header.get("SeriesInstanceUID", "")) for header in headers)
    uids = sorted(counts, key=lambda uid: (_number(headers, uid), uid))
    if inside is not None:
        chosen = [uid for place, uid in enumerate(uids, 1) if inside in (str(place), uid)]
        if not chosen:
            raise DataError(f"{path} has no series {inside}; {_listed(headers, counts, uids)}")
        uids = chosen
    if len(uids) > 1:
        raise DataError(
            f"{path} holds {len(uids)} series: {_listed(headers, counts, uids)}; name one, such as "
            f"{path.name}:1"
        )
    return [h for h in headers if str(h.get("SeriesInstanceUID", "")) == uids[0]]


def _number(headers: list[Any], uid: str) -> int:
    header = next(h for h in headers if str(h.get("SeriesInstanceUID", "")) == uid)
    return int(header.get("SeriesNumber") or 0)


def _listed(headers: list[Any], counts: Counter[str], uids: list[str]) -> str:
    named = []
    for place, uid in enumerate(uids[:6], 1):
        header = next(h for h in headers if str(h.get("SeriesInstanceUID", "")) == uid)
        about = str(header.get("SeriesDescription", "")).strip() or "no description"
        named.append(f"{place} {about[:30]!r} ({header.get('Modality', '')}, {counts[uid]} images)")
    return ", ".join(named) + (", ..." if len(uids) > 6 else "")
