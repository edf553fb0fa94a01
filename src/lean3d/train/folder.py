"""The folder of a run: locked while it trains, and restored if no epoch was finished."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lean3d.errors import RunError
from lean3d.files import write_whole
from lean3d.lock import held
from lean3d.processes import agreed, place

__all__ = ["check_places", "drop_leftovers", "is_begun", "last_checkpoint", "run_folder"]

RECORD = "recipe.json"
FOLDERS = "checkpoints", "tensorboard", "wandb", "mlruns"
# files written at the end of the first epoch
EPOCHS = "metrics.json", "checkpoints/last.ckpt"
FILES = RECORD, "metrics.csv", *EPOCHS, "checkpoints/best.ckpt"
# temporary names of `write_whole`
TEMPORARY = ".recipe.*", ".metrics.*", "checkpoints/.*.ckpt"


def last_checkpoint(folder: Path) -> Path:
    """Return the file a run resumes from."""
    return folder / "checkpoints" / "last.ckpt"


def is_begun(folder: Path, resume: bool) -> bool:
    """Whether a run has trained in the folder; refuse that unless it is to go on.

    Raises:
        RunError: it has, and `resume` is False.
    """
    begun = last_checkpoint(folder).exists()
    if begun and not resume:
        raise RunError(f"{folder} holds a run already; pass --resume to go on, or another --out")
    return begun


@contextmanager
def run_folder(folder: Path) -> Iterator[None]:
    """Lock `folder`; an error before the end of the first epoch leaves it as it was found.

    A signal is not an error: the run can be resumed, as after a kill. Of several processes the
    first one does it for all.

    Raises:
        RunError: another run uses the folder, or it cannot be made.
    """
    with ExitStack() as stack:
        agreed(lambda: stack.enter_context(_own(folder)) if place().first else None)
        yield


@contextmanager
def _own(folder: Path) -> Iterator[None]:
    with held(folder):
        check_places(folder)
        record = folder / RECORD
        before = record.read_bytes() if record.is_file() else None
        new = [name for name in FOLDERS if not (folder / name).exists()]
        try:
            yield
        except Exception:
            if not any((folder / name).exists() for name in EPOCHS):
                _restore(folder, before, new)
            raise


def check_places(folder: Path) -> None:
    """Refuse a folder in which something else has a name that a run reads or writes.

    Raises:
        RunError: names the place, and what is there.
    """
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise RunError(f"{folder} is not a folder; move it away, or use another --out")
    for name in FOLDERS:
        path = folder / name
        if os.path.lexists(path) and not os.path.isdir(path):
            raise RunError(f"{path} is not a folder; move it away, or use another --out")
        if path.exists() and not os.access(path, os.W_OK | os.X_OK):
            raise RunError(f"{path} cannot be written to; allow it, or use another --out")
    for name in FILES:
        path = folder / name
        if (other := _not_a_file(path)) is not None:
            raise RunError(f"{path} is {other}, not a file; move it away, or use another --out")
        if path.exists() and not os.access(path, os.R_OK):
            raise RunError(f"{path} cannot be read; allow it, or use another --out")


def _not_a_file(path: Path) -> str | None:
    """Return what is at a path where a file may be; None for a file, and for nothing at all."""
    if os.path.isfile(path) or not os.path.lexists(path):
        return None
    if os.path.isdir(path):
        return "a folder"
    return "a link to nothing" if not os.path.exists(path) else "a device or a pipe"


def drop_leftovers(folder: Path, patterns: Sequence[str] = TEMPORARY) -> None:
    """Remove incomplete files left by a kill; the folder is locked."""
    for pattern in patterns:
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def _restore(folder: Path, before: bytes | None, new: Sequence[str]) -> None:
    drop_leftovers(folder)
    record = folder / RECORD
    (folder / "metrics.csv").unlink(missing_ok=True)
    for name in new:
        shutil.rmtree(folder / name, ignore_errors=True)
    if before is None:
        record.unlink(missing_ok=True)
    elif record.read_bytes() != before:
        with write_whole(record) as temporary:
            temporary.write_bytes(before)
