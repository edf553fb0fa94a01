"""Write files atomically, and refuse unwritable outputs before the work."""

import errno
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from lean3d.errors import DataError, LeanError
from lean3d.signals import uninterrupted

__all__ = ["check_outputs", "write_between", "write_text", "write_whole"]

# timeout in seconds of a named pipe without a reader
PATIENCE = 5.0
LINKS = 40


@contextmanager
def write_whole(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name; its file is renamed to `path` when the block ends without error.

    A writer of a format that is a folder may replace the file by one, which `path` must not be yet.

    If the block fails, the temporary file is removed and the old file at `path` stays. A link is
    followed: the file it points to is replaced. Devices, pipes and names of open files such as
    /dev/stdout are written to and not replaced.

    Raises:
        DataError: the disk is full, the folder is missing or cannot be written.
    """
    path, temporary = Path(path), None
    try:
        beside = _file(path)
        folder = Path(tempfile.gettempdir()) if beside is None else beside.parent
        with uninterrupted():  # by a signal between the creation of the file and its name
            temporary = _temporary(path, folder)
        yield temporary
        if beside is None:
            _pass_through(temporary, path)
        else:
            _replace(temporary, beside)
    except LeanError as error:
        # writers name the temporary file in their messages
        text = str(error).replace(str(temporary), str(path))
        raise type(error)(text.replace(temporary.name, path.name) if temporary else text) from error
    except OSError as error:
        _refuse(path, error)
    except Exception as error:
        # libraries use other messages for a full disk
        if (full := _full(temporary)) is not None:
            _refuse(path, full)
        raise error
    finally:
        if temporary is not None and temporary.is_dir():
            shutil.rmtree(temporary)
        elif temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write text as UTF-8, atomically; names that are not UTF-8 are JSON-escaped."""
    with write_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_between(path: str | Path, name: str, text: str) -> None:
    """Put text between <!-- name: begin --> and <!-- name: end --> of a file; the rest stays.

    Raises:
        DataError: the file is missing or has not both markers.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if not os.path.isfile(path):
        raise DataError(f"cannot read {path}: there is no such file")
    try:
        before, _, rest = Path(path).read_text(encoding="utf-8").partition(begin)
    except (OSError, UnicodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    _, found, after = rest.partition(end)
    if not found:
        raise DataError(f"{path} needs a line {begin} and after it a line {end}")
    write_text(path, f"{before}{begin}\n{text}\n{end}{after}")


def check_outputs(
    outputs: Mapping[str, Path | None], sources: Mapping[str, Iterable[str | Path]] | None = None
) -> None:
    """Refuse outputs that cannot be written as asked, before anything is written.

    Args:
        outputs: The value of each flag, such as {"--json": path}.
        sources: Files read, by description, such as {"image": paths}; no output may replace one of
            them, by any name.

    Raises:
        DataError: a folder is missing or cannot be written, an output is a folder, a source, or
            another output.
    """
    seen: dict[Path, str] = {}
    for flag, path in outputs.items():
        if path is None:
            continue
        try:
            file = _file(path)
            if file is not None:
                _check_folder(flag, path, file)
                _temporary(file, file.parent).unlink()
        except OSError as error:
            _refuse(path, error)
        for what, paths in (sources or {}).items():
            if any(_same(path, source) for source in paths):
                raise DataError(f"{flag} {path} is the {what} itself; choose another name")
        if file is not None and seen.setdefault(file, flag) != flag:
            raise DataError(f"{flag} and {seen[file]} are both {path}; choose another name for one")


def _check_folder(flag: str, path: Path, file: Path) -> None:
    if file.is_dir():
        raise DataError(f"{flag} {path} is a folder; give another name, or that of a file in it")
    for folder in (path.parent, file.parent):
        if not folder.is_dir():
            raise DataError(f"there is no folder {folder} to write {flag} in; make it first")


def _same(path: Path, source: str | Path) -> bool:
    """Whether two names are one file, by links of either kind."""
    try:
        return os.path.samefile(path, source)
    except (OSError, ValueError):  # one of them does not exist, or is an address
        return os.path.realpath(path) == os.path.realpath(source)


def _file(path: Path) -> Path | None:
    """Return the file that would be replaced, or made, behind all links; None if it is no file."""
    if _descriptor(path) is not None:
        return None
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return Path(os.path.realpath(path))
    if stat.S_ISBLK(mode):
        raise OSError(errno.EPERM, "it is a disk; give a file on it")
    return Path(os.path.realpath(path)) if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else None


def _descriptor(path: Path) -> int | None:
    """Return the number of the open file that a name such as /dev/stdout refers to."""
    # the names of this process's open files are in here: /dev/stdout is a link into it
    folders = "/dev/fd", f"/proc/{os.getpid()}/fd"
    name = os.fspath(path)
    for _ in range(LINKS):
        folder, last = os.path.split(name)
        if os.path.realpath(folder or ".") in folders and last.isdecimal():
            return int(last)
        if not os.path.islink(name):
            return None
        name = os.path.join(folder, os.readlink(name))
    return None


def _temporary(path: Path, folder: Path) -> Path:
    """Make a new empty file; keep the suffix, for writers that choose a format by it (.nii.gz)."""
    suffix = ".nii.gz" if path.name.endswith(".nii.gz") else path.suffix
    # a name may have 255 bytes, the random part included
    beginning = path.name.removesuffix(suffix)[:32]
    handle, name = tempfile.mkstemp(suffix[:16], f".{beginning}.", folder)
    os.close(handle)
    return Path(name)


def _replace(temporary: Path, file: Path) -> None:
    mask = os.umask(0)
    os.umask(mask)
    if temporary.is_dir():
        temporary.chmod(0o777 & ~mask)
        temporary.rename(file)
        return
    # flushed before the rename, so that a crash cannot leave an empty file under the new name
    with temporary.open("rb+") as written:
        os.fsync(written.fileno())
    temporary.chmod(stat.S_IMODE(file.stat().st_mode) if file.exists() else 0o666 & ~mask)
    temporary.replace(file)


def _pass_through(temporary: Path, path: Path) -> None:
    """Write to a device, a pipe or an open file."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    number = _descriptor(path)
    handle = _opened(path) if number is None else os.dup(number)
    with temporary.open("rb") as written, os.fdopen(handle, "wb") as file:
        shutil.copyfileobj(written, file)


def _opened(path: Path) -> int:
    """Open for writing; wait briefly for the reader of a pipe."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            handle = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0))
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            if time.monotonic() > until:
                raise OSError(errno.ENXIO, "no program reads it") from error
            time.sleep(0.05)
        else:
            os.set_blocking(handle, True)
            return handle


def _full(temporary: Path | None) -> OSError | None:
    """Return the reason why no more can be written to the temporary file; None if it can."""
    if temporary is None or temporary.is_dir():
        return None
    try:
        with temporary.open("ab") as file:
            file.write(bytes(1 << 16))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error
    return None


def _refuse(path: Path, error: OSError) -> NoReturn:
    why = error.strerror or str(error)
    raise DataError(f"cannot write {path}: {why}; nothing was changed") from error
