"""A folder of numbered images, one for each slice, as one volume."""

import re
from pathlib import Path

import numpy as np

from lean3d.data.formats.registry import Scan, register_reader
from lean3d.data.formats.tiff import whole_tiff
from lean3d.data.grid import Grid
from lean3d.errors import DataError
from lean3d.optional import require

__all__ = ["open_slices"]

IMAGES = ".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg"
NUMBER = re.compile(r"(\d+)")


def _slices(folder: Path) -> list[tuple[int, Path]]:
    """Images of a folder with their numbers, in this order; none if they are no stack.

    Slices share a name but for one number: a case of a folder of stacks is no slice.
    """
    files = [p for p in folder.glob("*") if p.suffix.lower() in IMAGES and p.name[0] != "."]
    # text and numbers in turn
    words = [NUMBER.split(path.stem) for path in files]
    if len({tuple(word[::2]) for word in words}) != 1:
        return []
    numbers = np.array([[int(number) for number in word[1::2]] for word in words], object)
    if numbers.shape[1] == 0:
        return []
    places = np.flatnonzero((numbers != numbers[0]).any(0))
    if len(places) > 1:
        return []
    # of names that differ in their ending only it is the last one
    place = places[0] if len(places) else -1
    found = zip(numbers[:, place].tolist(), files, strict=True)
    return sorted(found, key=lambda one: (one[0], one[1].name))


def _is_stack(folder: Path) -> bool:
    slices = _slices(folder)
    alone = not any(p.is_dir() for p in folder.iterdir() if p.name[0] != ".")
    if not alone or len(slices) < 2:
        return False
    first = slices[0][1]
    return first.suffix.lower() not in (".tif", ".tiff") or _is_page(first)


def _is_page(path: Path) -> bool:
    """Whether a TIFF holds one page, not a stack of its own."""
    tifffile = require("tifffile", extra="volume")
    try:
        with whole_tiff(path), tifffile.TiffFile(path) as file:
            return len(file.pages) == 1
    except Exception:  # for the reader to report
        return False


@register_reader("folder of slices", folder=_is_stack)
def open_slices(path: Path, inside: str | None = None) -> Scan:
    """Open numbered images; the first is D = 0. Colours are channels.

    Raises:
        DataError: a number is missing or double, the images differ in size or in the type of their
            values, or a part is named.
    """
    if inside:
        raise DataError(f"{path} holds one volume and nothing called {inside}; give {path.name}")
    numbered = _slices(path)
    slices = [file for _, file in numbered]
    _check_numbers([number for number, _ in numbered], slices)
    first = _pixels(slices[0])
    channels = 1 if first.ndim == 2 else first.shape[-1]
    grid = Grid.stack((len(slices), *first.shape[:2]), None)

    def load(planes: slice) -> np.ndarray:
        pages = []
        for file in slices[planes]:
            page = _pixels(file)
            if page.shape != first.shape:
                raise DataError(
                    f"{file} has {_size(page)} pixels where {slices[0].name} has {_size(first)}; "
                    "give all slices one size"
                )
            if page.dtype != first.dtype:
                raise DataError(
                    f"{file} holds {page.dtype} values where {slices[0].name} holds {first.dtype}; "
                    "save all slices alike"
                )
            pages.append(page.reshape(*page.shape[:2], channels))
        return np.stack(pages).transpose(3, 0, 1, 2)

    return Scan(grid, channels, first.dtype, load)


def _check_numbers(numbers: list[int], slices: list[Path]) -> None:
    steps = np.diff(numbers)
    if 0 in steps:
        place = int(np.flatnonzero(steps == 0)[0])
        raise DataError(
            f"{slices[place]} and {slices[place + 1].name} have the same number; remove one of them"
        )
    usual = int(np.median(steps))
    if (odd := steps != usual).any():
        place = int(np.flatnonzero(odd)[0])
        raise DataError(
            f"slices are missing in {slices[place].parent}: after {slices[place].name} comes "
            f"{slices[place + 1].name}; add them, or number the slices without gaps"
        )


def _pixels(path: Path) -> np.ndarray:
    try:
        if path.suffix.lower() in (".tif", ".tiff"):
            with whole_tiff(path):
                pixels = np.asarray(require("tifffile", extra="volume").imread(path))
        else:
            with require("PIL.Image", extra="volume").open(path) as image:
                # a palette holds colours, and its numbers are classes
                pixels = np.asarray(image)
    except DataError:
        raise
    except Exception as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} cannot be read as an image ({why}); export it again") from error
    if pixels.ndim not in (2, 3) or 0 in pixels.shape:
        raise DataError(f"{path} has {_size(pixels)} pixels, not rows and columns; export it again")
    return pixels


def _size(page: np.ndarray) -> str:
    return " x ".join(map(str, page.shape))
