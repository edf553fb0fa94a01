"""Layouts of data: each is one file with a function that lists the labelled scans of a folder.

`LAYOUT:DIR` names one, `DIR` alone is a folder of cases (lean3d.data.folder). One in another
package is found as well, see `lean3d.plugins`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from lean3d.data.folder import ImagePath
from lean3d.data.named import Layouts
from lean3d.data.volume import Volume
from lean3d.errors import DataError

__all__ = ["Found", "Item", "find_items", "list_layouts", "register_layout"]


@dataclass(frozen=True)
class Item:
    """A scan with its labels: a mask, or the classes of the whole scan.

    Args:
        name: Name of the case, different from all others.
        image: Its file, or one for each channel.
        label: Its file of labels, for segmentation; or a file for each of several masks.
        target: Its classes, for classification: one, or one for each of several questions.
        split: The part that the authors put it in; None if they did not.
        read: Reads it, for data that are not one file a scan; `load_volume` by default.
    """

    name: str
    image: ImagePath
    label: ImagePath | None = None
    target: tuple[int, ...] | None = None
    split: Literal["train", "val", "test"] | None = None
    read: Callable[[], Volume] | None = None


@dataclass(frozen=True)
class Found:
    """What a layout finds in a folder.

    Args:
        items: The scans, sorted by name.
        class_names: Names of all classes, background first.
        target_names: Names of the classes of whole scans, if they are others.
        channel_names: Names of the channels, such as "CT".
        label_values: The values in the label files that are the classes 0, 1, ...
        mask_names: Names of independent masks, in the order of the files of a label.
    """

    items: tuple[Item, ...]
    class_names: tuple[str, ...] | None = None
    channel_names: tuple[str, ...] | None = None
    label_values: tuple[int, ...] | None = None
    target_names: tuple[str, ...] | None = None
    mask_names: tuple[str, ...] | None = None


Finder = TypeVar("Finder", bound=Callable[[Path], Found])

_LAYOUTS: Layouts[Callable[[Path], Found]] = Layouts(
    "layout of data",
    "lean3d.data.layouts",
    plain="folder",
    expected="a folder of cases, see docs/data.md",
)


def register_layout(function: Finder) -> Finder:
    """Decorate a function (folder) -> Found; its name is that of the layout."""
    _LAYOUTS.add(function.__name__, function)
    return function


def list_layouts() -> dict[str, str]:
    """Return every layout's name with its one-line description."""
    return {name: (f.__doc__ or "").partition("\n")[0] for name, f in _LAYOUTS.items()}


def find_items(data: str | Path) -> Found:
    """List the labelled scans of LAYOUT:DIR, or of a folder of cases.

    Raises:
        DataError: no layout has that name, there is no such folder, or it is not laid out so.
    """
    name, find, folder = _LAYOUTS.locate(data)
    found = find(folder)
    if not found.items:
        raise DataError(f"{folder} holds no case in the layout {name}; see docs/data.md")
    return found
