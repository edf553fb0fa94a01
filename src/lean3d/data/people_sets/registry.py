"""Data sets of persons by the names of their published layouts: NAME:DIR.

A layout is a function under `@people_set(NAME, what=...)` in a file of its own, here or in another
package, see `lean3d.plugins`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lean3d.data.named import Layouts
from lean3d.data.tracklets import People
from lean3d.errors import DataError

__all__ = ["PeopleSet", "list_people_sets", "load_people", "people_set"]

Reader = Callable[[Path], People]


@dataclass(frozen=True)
class PeopleSet:
    """A published layout.

    Args:
        what: Origin and layout, for people.
        read: Folder -> tracklets.
    """

    what: str
    read: Reader


_SETS: Layouts[PeopleSet] = Layouts(
    "data set of persons",
    "lean3d.data.people_sets",
    plain="people",
    expected="a folder with a folder of videos for each person",
)


def people_set(*names: str, what: str) -> Callable[[Reader], Reader]:
    """Decorate the reader of a layout: `--data NAME:DIR` then finds it by its names."""

    def register(read: Reader) -> Reader:
        for name in names:
            _SETS.add(name, PeopleSet(what, read))
        return read

    return register


def list_people_sets() -> dict[str, str]:
    """Return every layout's name with its one-line description."""
    return {name: found.what for name, found in _SETS.items()}


def load_people(data: str, camera: str | None = None) -> People:
    """Return the tracklets of NAME:DIR, or of a folder with a folder for each person.

    Args:
        camera: A regular expression with a group: what it finds in the path of a tracklet, within
            the folder, is its camera, such as "_c([0-9]+)".

    Raises:
        DataError: no such layout, folder or list; lists that contradict each other or the files.
    """
    _, found, root = _SETS.locate(data)
    if not root.is_dir():
        raise DataError(f"{root} is a file; give {_SETS.expected}")
    people = replace(found.read(root), folder=root)
    if not people.every:
        raise DataError(f"{people.name} holds no video of a person")
    return people if camera is None else _with_cameras(people, camera)


def _with_cameras(people: People, pattern: str) -> People:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise DataError(f"camera {pattern!r} is no regular expression: {error}") from error
    if expression.groups != 1:
        raise DataError(f"camera {pattern!r} needs one group in brackets, such as _c([0-9]+)")
    texts = []
    for tracklet in people.every:
        if (hit := expression.search(tracklet.name)) is None:
            raise DataError(f"camera {pattern!r} finds nothing in {tracklet.name}; change it")
        texts.append(hit[1])
    numbers = {text: number for number, text in enumerate(sorted(set(texts)))}
    return people.with_cameras([numbers[text] for text in texts])
