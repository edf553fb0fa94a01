"""Check a NIfTI header against the size of the file and free memory, before more is read.

A few bytes of a header can request any amount of memory, and a compressed file of 3 MB can unpack
to gigabytes: reading stops at the size that the header declares.
"""

import gzip
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from lean3d.errors import DataError
from lean3d.limits import check_memory, in_bytes

__all__ = ["check_end", "check_extensions", "check_room", "is_packed"]

# maximum bytes of header and extensions together, and of padding behind the voxels
MOST_BEFORE, MOST_BEHIND = 1 << 26, 1 << 16
# the best ratio of deflate
RATIO = 1032
# size of the header -> position and type of its voxel offset
OFFSETS = {348: (108, "f"), 540: (168, "q")}


def check_extensions(path: Path) -> None:
    """Refuse a header whose extensions are longer than their declared space.

    Raises:
        DataError: it is damaged; a file without a NIfTI header passes, for the reader to report.
    """
    with _opened(path) as file:
        start = file.read(544)
        for order in "<>":
            size = struct.unpack(f"{order}i", start[:4])[0] if len(start) >= 352 else 0
            if size in OFFSETS:
                break
        else:
            return
        place, kind = OFFSETS[size]
        offset = struct.unpack_from(f"{order}{kind}", start, place)[0]
        if not 0 <= offset <= MOST_BEFORE:
            raise _damaged(path, f"its voxels would begin at byte {offset:g}")
        if len(start) < size + 4 or not start[size]:
            return
        at = size + 4
        for length in _lengths(file, order, at, int(offset)):
            at += length
            if length < 8 or at > offset:
                raise _damaged(path, f"it has an extension of {length:,} bytes and no room for it")


def _lengths(file: BinaryIO, order: str, at: int, end: int) -> Iterator[int]:
    """Return the length of the extensions, each of which begins with its own length."""
    while at + 16 <= end:
        file.seek(at)
        word = file.read(4)
        if len(word) < 4:
            return
        length = struct.unpack(f"{order}i", word)[0]
        yield length
        at += length


def check_room(path: Path, image: Any, planes: int, depth: int) -> None:
    """Refuse an image of more voxels than its file or free memory can hold.

    Args:
        planes: How many of its `depth` are returned; those of a compressed file are all unpacked.

    Raises:
        DataError: the file is cut short.
        LeanError: there is not enough memory for it.
    """
    voxels, dtype = math.prod(image.shape), image.get_data_dtype()
    promised, there = voxels * dtype.itemsize, path.stat().st_size
    packed = is_packed(path)
    most = there * RATIO if packed else there
    # the voxels of a pair are in another file
    if path.suffix not in (".hdr", ".img") and promised > most:
        raise _damaged(path, f"it promises {in_bytes(promised)} of voxels, more than it can hold")
    # as they are returned, and turned to D, H, W
    returned = 2 * max(4, dtype.itemsize) * (voxels // depth) * planes
    check_memory(str(path), packed * promised + returned, "crop or resample it first")


def check_end(path: Path, stream: gzip.GzipFile) -> None:
    """Read a compressed file to its end, where its checksum is compared, if the end is near.

    Raises:
        DataError: the file continues.
    """
    if len(stream.read(MOST_BEHIND + 1)) > MOST_BEHIND:
        raise _damaged(path, "it goes on behind the voxels that its header promises")


def is_packed(path: Path) -> bool:
    """Whether a file is compressed by gzip, whatever its name says."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _opened(path: Path) -> BinaryIO:
    return gzip.open(path) if is_packed(path) else path.open("rb")  # type: ignore[return-value]


def _damaged(path: Path, why: str) -> DataError:
    return DataError(f"{path}: {why}; it is damaged or cut short: copy or export it again")
