"""Data by one reference: LAYOUT:DIR, or a path, which has the plain layout of its kind."""

import re
from pathlib import Path
from typing import TypeVar

from lean3d.errors import DataError, RunError
from lean3d.plugins import Registry

__all__ = ["Layouts", "split_name"]

Part = TypeVar("Part")


def split_name(data: str | Path) -> tuple[str, str]:
    """Split LAYOUT:DIR; the name is "" for paths: C:\\data, file.h5:raw, and what exists."""
    text = str(data)
    name, colon, place = text.partition(":")
    named = colon and re.fullmatch(r"[\w-]{2,}", name) and not Path(text).expanduser().exists()
    return (name, place) if named else ("", text)


class Layouts(Registry[Part]):
    """Layouts of one kind of data by their names.

    Args:
        what: The name of one layout in messages, such as "video data set".
        package: The package whose modules register layouts.
        plain: The layout of a path without a name.
        expected: What to give in its place, for messages.
    """

    def __init__(self, what: str, package: str, *, plain: str, expected: str):
        super().__init__(what, package)
        self.plain, self.expected = plain, expected

    def locate(self, data: str | Path) -> tuple[str, Part, Path]:
        """Return the name, the layout and the path of LAYOUT:DIR; what exists is a path.

        Raises:
            DataError: no layout has that name, or there is no such path.
        """
        name, place = split_name(data)
        name = name or self.plain
        try:
            layout = self.find(name)
        except RunError as error:
            raise DataError(f"data are LAYOUT:DIR, or {self.expected}: {error}") from error
        if not place.strip():
            raise DataError(f"{str(data)!r} names no folder; give {self.expected}")
        path = Path(place).expanduser()
        if not path.exists():
            raise DataError(f"there is no file or folder {path}; give {self.expected}")
        return name, layout, path
