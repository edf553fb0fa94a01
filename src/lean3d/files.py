"""Write a file whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lean3d.errors import DataError

__all__ = ["write_between", "write_text", "write_whole"]


@contextmanager
def write_whole(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; rename it to `path` when the block ends well.

    When the block fails, the temporary file goes and whatever stood at `path` stays.

    Raises:
        DataError: the disk is full, the folder is missing or cannot be written.
    """
    path = Path(path)
    # the whole suffix stays last, for writers that choose a format by it (.nii.gz)
    suffix = "".join(path.suffixes)
    temporary = None
    try:
        handle, name = tempfile.mkstemp(suffix, f".{path.name.removesuffix(suffix)}.", path.parent)
        temporary = Path(name)
        os.close(handle)
        yield temporary
        # flushed before the rename, so that a crash cannot leave an empty file under the new name
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    except OSError as error:
        raise DataError(
            f"cannot write {path}: {error.strerror or error}; nothing was changed"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write text as UTF-8, whole or not at all."""
    with write_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_between(path: str | Path, name: str, text: str) -> None:
    """Put text between <!-- name: begin --> and <!-- name: end --> of a file; the rest stays.

    Raises:
        DataError: the file is missing or has not both markers.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    try:
        before, _, rest = Path(path).read_text(encoding="utf-8").partition(begin)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    _, found, after = rest.partition(end)
    if not found:
        raise DataError(f"{path} needs a line {begin} and after it a line {end}")
    write_text(path, f"{before}{begin}\n{text}\n{end}{after}")
