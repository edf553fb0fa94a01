"""The scores of each case in a file of its own, so that an evaluation that was stopped goes on."""

import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lean3d import __version__
from lean3d.errors import DataError
from lean3d.files import write_text
from lean3d.recipes.evaluation.base import OF_ALL, Evaluation, Scored
from lean3d.recipes.load import weights_of

__all__ = ["Store", "dropped_if_empty"]

FOLDERS = "scores", "predictions"


class Store:
    """Scored cases in a folder, each with a key of the weights, the settings and the data it has.

    Args:
        folder: Made if it does not exist.
    """

    def __init__(self, folder: Path, evaluation: Evaluation):
        self.folder = folder
        weights = weights_of(evaluation.folder).read_bytes()
        settings = asdict(evaluation.settings)
        for name in OF_ALL:
            if name != "precision" or settings[name] == "float32":
                del settings[name]
        recipe = evaluation.recipe.to_dict()
        self.key = _digest(
            weights, json.dumps([settings, recipe, __version__], sort_keys=True).encode()
        )
        for part in FOLDERS:
            try:
                (folder / part).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise DataError(f"cannot make {folder / part}: {error.strerror}") from error

    def kept(self, name: str) -> Path:
        """Where the prediction of a case is written, less its suffix."""
        return self.folder / "predictions" / name

    def get(self, name: str, stamp: str) -> Scored | None:
        """Return a case that was scored with this key and stamp."""
        try:
            read = json.loads(self._file(name).read_text(encoding="utf-8"))
            if read["key"] == self.key and read["stamp"] == stamp:
                return Scored(_restored(read["rows"]), read["more"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # not scored yet, or damaged: it is scored again
        return None

    def put(self, name: str, stamp: str, scored: Scored) -> None:
        """Write a scored case, atomically."""
        value = {"key": self.key, "stamp": stamp, "rows": scored.rows, "more": scored.more}
        write_text(self._file(name), json.dumps(_plain(value)) + "\n")

    def _file(self, name: str) -> Path:
        return self.folder / "scores" / f"{name}.json"


@contextmanager
def dropped_if_empty(folder: Path) -> Iterator[None]:
    """Remove the folders of a store in which an error came before the first case was scored."""
    try:
        yield
    except Exception:
        for parent in (folder / "against", folder):
            for part in FOLDERS:
                with suppress(OSError):  # missing, or not empty
                    (parent / part).rmdir()
        with suppress(OSError):
            (folder / "against").rmdir()
        raise


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]


def _plain(value: Any) -> Any:
    """Return the value with NaN as null: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _restored(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: math.nan if v is None else v for k, v in row.items()} for row in rows]
