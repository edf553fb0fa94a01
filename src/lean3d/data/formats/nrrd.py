"""Whether the packed voxels of a NRRD file are whole: ITK does not compare their sum."""

from collections.abc import Callable
from pathlib import Path

from lean3d.data.formats.packed import unpacked_size
from lean3d.errors import DataError

__all__ = ["check_nrrd"]

# the most bytes that a header has
HEADER = 1 << 20


def check_nrrd(path: Path) -> Callable[[], None] | None:
    """Return a function that refuses damaged voxels, if they are packed by gzip in one file.

    Everything else is left to ITK.
    """
    fields, end = _header(path)
    place = fields.get("data file", fields.get("datafile"))
    if fields.get("encoding", "").lower() not in ("gzip", "gz"):
        return None
    if fields.get("line skip", fields.get("lineskip", "0")) != "0" or " " in (place or ""):
        return None
    voxels = path if place is None else path.parent / place
    if not voxels.is_file():
        return None
    start = end if place is None else 0

    def check() -> None:
        try:
            unpacked_size(voxels, start)
        except ValueError as error:
            raise DataError(
                f"{path} cannot be read as NRRD: its voxels cannot be unpacked: {error}; it is "
                "damaged or cut short: copy or export it again"
            ) from error

    return check


def _header(path: Path) -> tuple[dict[str, str], int]:
    """Return the fields of a header, by lower-case name, and where the voxels begin."""
    found: dict[str, str] = {}
    with path.open("rb") as file:
        while (line := file.readline(HEADER).strip()) and file.tell() <= HEADER:
            name, colon, value = line.decode("latin-1").partition(":")
            if colon and not value.startswith("=") and name[:1] != "#":
                found[name.strip().lower()] = value.strip()
        return found, file.tell()
