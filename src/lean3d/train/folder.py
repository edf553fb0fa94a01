"""The folder of a run: locked while it trains, and restored if no epoch was finished."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lean3d.errors import RunError
from lean3d.files import write_whole
from lean3d.lock import held

__all__ = ["drop_leftovers", "last_checkpoint", "run_folder"]

RECORD = "recipe.json"
FOLDERS = "checkpoints", "tensorboard", "wandb", "mlruns"
# files written at the end of the first epoch
EPOCHS = "metrics.json", "checkpoints/last.ckpt"
# temporary names of `write_whole`
TEMPORARY = ".recipe.*", ".metrics.*", "checkpoints/.*.ckpt"


def last_checkpoint(folder: Path) -> Path:
    """Return the file a run resumes from."""
    return folder / "checkpoints" / "last.ckpt"


@contextmanager
def run_folder(folder: Path) -> Iterator[None]:
    """Lock `folder`; an error before the end of the first epoch leaves it as it was found.

    A signal is not an error: the run can be resumed, as after a kill.

    Raises:
        RunError: another run uses the folder, or it cannot be made.
    """
    with held(folder):
        _check_places(folder)
        record = folder / RECORD
        before = record.read_bytes() if record.is_file() else None
        new = [name for name in FOLDERS if not (folder / name).exists()]
        try:
            yield
        except Exception:
            if not any((folder / name).exists() for name in EPOCHS):
                _restore(folder, before, new)
            raise


def _check_places(folder: Path) -> None:
    """Refuse a folder in which other files have the names a run writes."""
    for name in FOLDERS:
        if os.path.lexists(folder / name) and not (folder / name).is_dir():
            raise RunError(f"{folder / name} is not a folder; move it away, or use another --out")
    for name in (RECORD, "metrics.csv", *EPOCHS):
        if (folder / name).is_dir():
            raise RunError(f"{folder / name} is a folder, not a file; move it away")


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
