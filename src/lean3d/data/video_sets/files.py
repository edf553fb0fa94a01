"""List files and videos, as the published layouts have them."""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from math import isfinite, nan
from pathlib import Path
from typing import Any

from lean3d.data.hidden import visible
from lean3d.data.listing import Recording
from lean3d.data.stills import list_images
from lean3d.errors import DataError, clipped

__all__ = [
    "SUFFIXES",
    "Labels",
    "by_stem",
    "field",
    "find_file",
    "found_in",
    "read_json",
    "read_lines",
    "read_names",
    "read_rows",
    "read_time",
    "says_absent",
    "walk",
]

# what FFmpeg reads under its usual names
SUFFIXES = {
    *(".mp4", ".m4v", ".mov", ".qt", ".f4v", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".divx"),
    *(".mpg", ".mpeg", ".mpe", ".mpv", ".m1v", ".m2v", ".vob", ".ts", ".mts", ".m2t", ".m2ts"),
    *(".wmv", ".asf", ".flv", ".ogv", ".ogg", ".ogm", ".rm", ".rmvb", ".mxf", ".nut", ".dv"),
    *(".gif", ".ivf", ".y4m", ".mjpg", ".mjpeg", ".264", ".h264", ".265", ".h265", ".hevc"),
}

# a line in quotes, as tables write it
QUOTED = re.compile(r'^"(.*)"$')


class Labels:
    """The numbers of classes by their names.

    Args:
        where: The file that lists them, for messages.
    """

    def __init__(self, names: Iterable[str], where: object):
        self.names, self.where = tuple(names), where
        self.numbers = {name: number for number, name in enumerate(self.names)}
        if len(self.numbers) != len(self.names):
            twice = next(name for name, n in Counter(self.names).items() if n > 1)
            raise DataError(f"{where} lists class {twice!r} twice")

    def __getitem__(self, name: str) -> int:
        if name not in self.numbers:
            raise DataError(f"{self.where} has no class {name!r}; add it, or mend the label")
        return self.numbers[name]


def find_file(root: Path, *patterns: str) -> Path:
    """Return the first file under `root` that a pattern finds.

    Raises:
        DataError: there is none; the message says which is missing.
    """
    for pattern in patterns:
        if found := sorted(p for p in root.glob(pattern) if p.is_file()):
            return found[0]
    name = patterns[0].removeprefix("**/")
    raise DataError(f"there is no {name} in {root}; copy the list files there too")


def read_lines(path: Path) -> list[str]:
    """Return the lines of a list file that hold something."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text in UTF-8; save it as UTF-8") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def read_names(path: Path) -> list[str]:
    """Return the names of classes, one a line, without the quotes that tables put around them."""
    lines = [(line, QUOTED.match(line)) for line in read_lines(path)]
    return [found[1].replace('""', '"') if found else line for line, found in lines]


def read_rows(
    path: Path, columns: Sequence[str], delimiter: str = ",", needed: Sequence[str] = ()
) -> list[dict[str, str]]:
    """Return the rows of a CSV file; without a header its columns are `columns` in order.

    Args:
        needed: Columns that a header must name.
    """
    try:
        lines = list(csv.reader(read_lines(path), delimiter=delimiter))
    except csv.Error as error:
        raise DataError(f"{path} is no table: {error}") from error
    if not lines:
        raise DataError(f"{path} holds no row")
    heads = [cell.strip().lower() for cell in lines[0]]
    if set(heads) & set(columns[:2]):
        lines = lines[1:]
    else:
        heads = list(columns)
    if lacking := [name for name in needed if name not in heads]:
        raise DataError(f"{path} has no column {lacking[0]!r}; its first line names the columns")
    blank = dict.fromkeys(heads, "")
    rows = [blank | dict(zip(heads, map(str.strip, line), strict=False)) for line in lines]
    for number, row in enumerate(rows, 1):
        if columns[0] in heads and not row.get(columns[0]):
            raise DataError(f"{path}: row {number} has no {columns[0]}")
    return rows


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def field(path: Path, entry: Any, name: str, kind: Any) -> Any:
    """Return a value of an entry of a JSON file; refuse another kind of value, or none."""
    value = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise DataError(f"{path} has an entry without {name}: {clipped(repr(entry), 120)}")
    return value


def read_time(text: Any, what: str) -> float:
    """Return seconds; refuse what is no finite number."""
    try:
        seconds = float(text)
    except (TypeError, ValueError):
        seconds = nan
    if not isfinite(seconds):
        raise DataError(f"a time of {what} is a number of seconds, got {text!r}")
    return seconds


def walk(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the videos under a folder (files, and folders of images), and the files left out."""
    videos: list[Path] = []
    others: list[Path] = []
    for path in visible(folder):
        if path.is_dir():
            if list_images(path):
                videos.append(path)
                continue
            inner, left = walk(path)
            videos, others = videos + inner, others + left
        elif path.suffix.lower() in SUFFIXES:
            videos.append(path)
        else:
            others.append(path)
    return videos, others


def by_stem(folder: Path) -> dict[str, Path]:
    """Return the videos under a folder by their names without suffix."""
    return {path.stem if path.is_file() else path.name: path for path in walk(folder)[0]}


def found_in(
    listed: Iterable[tuple[str, Recording]], there: dict[str, Path]
) -> tuple[list[Recording], list[str]]:
    """Return the listed recordings whose videos are there, and the names of the absent ones."""
    found, absent = [], []
    for name, recording in listed:
        if name in there:
            found.append(
                Recording(there[name], recording.labels, recording.seconds, recording.frames)
            )
        else:
            absent.append(name)
    return found, absent


def says_absent(absent: Sequence[str], part: str) -> list[str]:
    """Return a sentence that counts the videos that are listed and absent."""
    if not absent:
        return []
    return [f"{len(absent)} video(s) of {part} are listed and absent, such as {absent[0]}"]
