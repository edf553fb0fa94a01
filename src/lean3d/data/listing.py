"""Labelled videos in parts: what every published layout is read into."""

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lean3d.errors import DataError

__all__ = ["Listing", "Recording", "hold_out", "interleaved"]


@dataclass(frozen=True)
class Recording:
    """A labelled video, or a labelled stretch of one.

    Args:
        path: A file, or a folder of images.
        labels: The numbers of its classes; most data sets have one a video.
        seconds: First and last second of the stretch; None for an open end.
        frames: First frame, and the one after the last, of the stretch.
    """

    path: Path
    labels: tuple[int, ...]
    seconds: tuple[float, float | None] | None = None
    frames: tuple[int, int] | None = None

    @property
    def label(self) -> int:
        return self.labels[0]


@dataclass(frozen=True)
class Listing:
    """A data set of videos.

    Args:
        name: Of the data set, and its folder.
        classes: Names of the classes, in the order of their numbers.
        parts: "train", "val" and "test", those that the data set has; "all" where it has none.
        left_out: Sentences on what is listed, or there, and not used.
        folder: Where it lies.
    """

    name: str
    classes: tuple[str, ...]
    parts: dict[str, list[Recording]]
    left_out: tuple[str, ...] = field(default=())
    folder: Path | None = None

    def check(self) -> "Listing":
        """Refuse a data set from which nothing can be learnt; return it.

        Raises:
            DataError: fewer than two classes, no video, or a class without one to train on.
        """
        if len(self.classes) < 2:
            raise DataError(
                f"{self.name} has {len(self.classes)} class(es); two or more are needed"
            )
        first = "train" if "train" in self.parts else next(iter(self.parts))
        if not any(self.parts.values()):
            why = "; ".join(self.left_out) or "nothing is listed"
            raise DataError(f"{self.name}: no video was found: {why}")
        there = {label for recording in self.parts[first] for label in recording.labels}
        if empty := [name for number, name in enumerate(self.classes) if number not in there]:
            more = f" and {len(empty) - 1} more have" if len(empty) > 1 else " has"
            why = f" ({self.left_out[0]})" if self.left_out else ""
            raise DataError(
                f"{self.name}: class {empty[0]!r}{more} no video to train on{why}; add one, or "
                "take the class away"
            )
        return self


def hold_out(
    recordings: Sequence[Recording], share: float, seed: int, group_by: str | None = None
) -> tuple[list[Recording], list[Recording]]:
    """Split recordings into those kept and a share of every class that is held out.

    Args:
        group_by: A regular expression on the path: recordings in which it finds the same text, or
            the same groups, stay together, such as clips of one film, or of one person.

    Raises:
        DataError: a class has a single recording or group, so that none can be held out; or the
            expression finds nothing in a path.
    """
    group = _grouping(group_by)
    kept: list[Recording] = []
    held: list[Recording] = []
    where: dict[str, bool] = {}
    for number in sorted({recording.label for recording in recordings}):
        own = [recording for recording in recordings if recording.label == number]
        groups = Counter(group(recording.path) for recording in own)
        if len(groups) < 2:
            what = "group of videos" if group_by else "video"
            raise DataError(
                f"the class of {own[0].path} has one {what}; two are needed, one to hold out"
            )
        # a group that another class shares stays where it went
        free = [name for name in groups if name not in where]
        random.Random(seed).shuffle(free)
        num = max(round(share * len(own)), 1)
        out = sum(groups[name] for name in groups if where.get(name))
        left = len(groups) - sum(where.get(name, False) for name in groups)
        for name in free:
            where[name] = out < num and left > 1
            out += groups[name] * where[name]
            left -= where[name]
        for recording in own:
            (held if where[group(recording.path)] else kept).append(recording)
    return kept, held


def interleaved(recordings: Sequence[Recording], seed: int) -> list[Recording]:
    """Return recordings in an order in which any few in a row have every class by its share.

    Lists of published data sets go class by class, and an epoch may be a part of them.
    """
    classes: dict[int, list[Recording]] = {}
    for recording in recordings:
        classes.setdefault(recording.label, []).append(recording)
    places = []
    for number, own in sorted(classes.items()):
        random.Random(f"{seed} {number}").shuffle(own)
        places += [((k + 0.5) / len(own), number, recording) for k, recording in enumerate(own)]
    return [recording for *_, recording in sorted(places, key=lambda place: place[:2])]


def _grouping(group_by: str | None) -> Callable[[Path], str]:
    if group_by is None:
        return str
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        raise DataError(f"group_by {group_by!r} is no regular expression: {error}") from error

    def group(path: Path) -> str:
        found = pattern.search(str(path))
        if found is None:
            raise DataError(f"group_by {group_by!r} finds nothing in {path}; change the expression")
        return repr(found.groups()) if pattern.groups else found[0]

    return group
