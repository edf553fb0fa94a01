"""Allow one run at a time in a folder, by a lock that ends with its process, however that ends.

It is a POSIX record lock, because the workers of a loader do not inherit it: after a kill they may
live on for seconds. On systems without (Windows, a few network file systems), nothing is locked.
"""

import contextlib
import errno
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lean3d.errors import RunError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["LOCK", "held"]

LOCK = ".lock"
BUSY = errno.EACCES, errno.EAGAIN
# how often a folder is made again that another process has removed at its end
TRIES = 1000


class _Here:
    """The locks of this process: record locks do not exclude its own threads."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.threads: dict[Path, threading.RLock] = {}
        self.depth: dict[Path, int] = {}


_here = _Here()


@contextmanager
def held(folder: str | Path, *, wait: bool = False) -> Iterator[None]:
    """Keep other processes and threads out of a folder, which is made if it does not exist.

    The same thread may enter again. Folders made here are removed at the end if empty.

    Args:
        wait: Wait until the folder is free.

    Raises:
        RunError: another run is in the folder, or it cannot be made.
    """
    folder = Path(folder).resolve()
    with _here.guard:
        own = _here.threads.setdefault(folder, threading.RLock())
    if not own.acquire(blocking=wait):
        raise RunError(_busy(folder, f"process {os.getpid()}, this one"))
    try:
        if _here.depth.get(folder):
            yield
            return
        made = _missing(folder)
        try:
            with _locked(folder, wait):
                _here.depth[folder] = 1
                try:
                    yield
                finally:
                    _here.depth[folder] = 0
        finally:
            for new in made:
                with contextlib.suppress(OSError):  # it is not empty
                    new.rmdir()
    finally:
        own.release()


@contextmanager
def _locked(folder: Path, wait: bool) -> Iterator[None]:
    path = folder / LOCK
    handle = _open(path, wait)
    try:
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {platform.node()}".encode())
        yield
    finally:
        # while it is locked: processes that opened it before check again, see _open
        path.unlink(missing_ok=True)
        os.close(handle)


def _open(path: Path, wait: bool) -> int:
    """Return an open file that is locked, and still the one of that name."""
    while True:
        handle = _try_open(path)
        try:
            _lock(handle, path, wait)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), path.stat()):
                    return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _try_open(path: Path) -> int:
    """Make the folder, and open the file in it; in between, another process may remove it."""
    for tries in range(1, TRIES + 1):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            gone = isinstance(error, FileExistsError | FileNotFoundError)
            if tries == TRIES or not gone or path.parent.is_file():
                raise RunError(_cannot(path.parent, error)) from error
    raise AssertionError(path)


def _lock(handle: int, path: Path, wait: bool) -> None:
    if fcntl is None:
        return
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in BUSY:
            # the holder writes this immediately; a file system without locks does not report it
            owner = ""
            with contextlib.suppress(OSError):
                owner = path.read_text(errors="replace")
            raise RunError(_busy(path.parent, owner or "another process")) from None


def _missing(folder: Path) -> list[Path]:
    """Return the folders that are to be made, the deepest first."""
    found = []
    try:
        for path in [folder, *folder.parents]:
            if path.exists():
                break
            found.append(path)
    except OSError as error:
        raise RunError(_cannot(folder, error)) from error
    return found


def _busy(folder: Path, owner: str) -> str:
    return (
        f"{folder} is in use by {owner}; wait until that run has ended, or use another folder "
        "(--out)"
    )


def _cannot(folder: Path, error: OSError) -> str:
    return f"cannot make the run folder {folder}: {error.strerror}"


def _forget() -> None:
    global _here
    _here = _Here()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
