"""Voxels that are packed by zlib or gzip, checked by the sum that is stored with them."""

import zlib
from pathlib import Path

__all__ = ["unpacked_size"]

# bytes read at a time, and the most that are unpacked at once
PART, WHOLE = 1 << 20, 1 << 24


def unpacked_size(path: Path, start: int = 0) -> int:
    """Return how many bytes are packed from a place in a file to the end of the packing.

    Raises:
        ValueError: they are damaged, or have no end.
    """
    unpack, found = zlib.decompressobj(47), 0
    try:
        with path.open("rb") as file:
            file.seek(start)
            while not unpack.eof and (packed := file.read(PART)):
                while packed and not unpack.eof:
                    found += len(unpack.decompress(packed, WHOLE))
                    packed = unpack.unconsumed_tail
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not unpack.eof:
        raise ValueError("they are cut short")
    return found
