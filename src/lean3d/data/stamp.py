"""What changes with the files of a scan, which is used again only as it was."""

import hashlib
import os
from pathlib import Path

from lean3d.data.folder import ImagePath
from lean3d.data.formats.registry import split

__all__ = ["stamp_of"]

# headers that may have their voxels in a file of the same name beside them
HEADERS = ".mhd", ".nhdr", ".hdr"


def stamp_of(*scans: ImagePath | None) -> str:
    """Return names, sizes and dates of the files of scans: another text, other data.

    A scan may be a folder (DICOM, Zarr), of which every file counts, or a part of a file.
    """
    paths = [p for one in scans for p in (one if isinstance(one, tuple) else (one,)) if p]
    return "; ".join(_facts(path) for path in paths)


def _facts(path: Path) -> str:
    # file.npz:voxel is in a file
    file = split(path)[0].resolve()
    if not file.exists():  # a layout reads it in its own way
        return str(path)
    files = _inside(file) if file.is_dir() else [file]
    if file.suffix.lower() in HEADERS:
        files = sorted(one for one in file.parent.glob(f"{file.stem}.*") if one.is_file())
    stats = [(one.name, one.stat()) for one in files]
    facts = [f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats]
    if len(facts) == 1:
        return f"{path} {stats[0][1].st_size} {stats[0][1].st_mtime_ns}"
    return f"{path} {len(facts)} {hashlib.sha256(chr(10).join(facts).encode()).hexdigest()[:16]}"


def _inside(folder: Path) -> list[Path]:
    found = ((Path(place), names) for place, _, names in os.walk(folder))
    return sorted(place / name for place, names in found for name in names)
