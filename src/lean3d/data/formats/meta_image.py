"""Whether a MetaImage file holds the voxels that its header promises.

ITK's reader returns what it has where a compressed file is damaged, and prints the reason on the
process's stderr.
"""

import math
from collections.abc import Callable
from pathlib import Path

from lean3d.data.formats.packed import unpacked_size
from lean3d.errors import DataError

__all__ = ["check_meta_image"]

# bytes of a value
SIZES = {"CHAR": 1, "SHORT": 2, "INT": 4, "LONG": 4, "LONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8}
SIZES |= {f"U{name}": size for name, size in SIZES.items() if name not in ("FLOAT", "DOUBLE")}
NEEDED = "NDims", "DimSize", "ElementType", "ElementDataFile"
# the most bytes that a header has
HEADER = 1 << 16


def check_meta_image(path: Path) -> Callable[[], None] | None:
    """Refuse a file whose header is incomplete, or whose voxels are cut short.

    Files whose voxels are text, or in several files, are left to ITK.

    Returns:
        If the voxels are packed, a function that unpacks them all, to refuse damaged ones.

    Raises:
        DataError: says which, and what is missing.
    """
    header, end = _header(path)
    missing = [name for name in NEEDED if not header.get(name)]
    if missing:
        raise _damaged(path, f"its header has no {missing[0]}")
    place = header["ElementDataFile"]
    if "%" in place or place.startswith("LIST") or not _true(header.get("BinaryData", "True")):
        return None
    try:
        sizes = [int(word) for word in header["DimSize"].split()]
        channels = int(header.get("ElementNumberOfChannels", 1))
        value = SIZES[header["ElementType"].removeprefix("MET_").removesuffix("_ARRAY")]
        skipped = int(header.get("HeaderSize", 0))
    except (ValueError, KeyError) as error:
        raise _damaged(path, f"its header says {error}") from error
    voxels = path if place == "LOCAL" else path.parent / place
    if not voxels.is_file():
        raise _damaged(path, f"there is no file {voxels.name} beside it")
    promised = math.prod(sizes) * channels * value
    start = end if place == "LOCAL" else max(0, skipped)
    if not _true(header.get("CompressedData", "False")):
        _check_size(path, promised, voxels.stat().st_size - start)
        return None

    def check() -> None:
        try:
            found = unpacked_size(voxels, start)
        except ValueError as error:
            raise _damaged(path, f"its voxels cannot be unpacked: {error}") from error
        _check_size(path, promised, found)

    return check


def _check_size(path: Path, promised: int, found: int) -> None:
    if found < promised:
        raise _damaged(
            path, f"it promises {promised:,} bytes of voxels and holds {max(0, found):,}"
        )


def _header(path: Path) -> tuple[dict[str, str], int]:
    """Return the lines of a header, and where it ends."""
    found: dict[str, str] = {}
    with path.open("rb") as file:
        while (line := file.readline(HEADER)) and file.tell() <= HEADER:
            name, _, value = line.decode("latin-1").partition("=")
            found[name.strip()] = value.strip()
            if name.strip() == "ElementDataFile":
                break
        return found, file.tell()


def _true(word: str) -> bool:
    return word[:1] in "Tt1"


def _damaged(path: Path, why: str) -> DataError:
    return DataError(
        f"{path} cannot be read as MetaImage: {why}; it is damaged or cut short: copy or export "
        "it again"
    )
