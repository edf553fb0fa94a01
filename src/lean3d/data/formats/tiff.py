"""TIFF stacks, through tifffile: plain, of ImageJ and of OME."""

import logging
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident
from typing import Any
from xml.etree import ElementTree

import numpy as np

from lean3d.data.formats.lengths import millimetres
from lean3d.data.formats.registry import Scan, register_reader, register_writer
from lean3d.data.grid import Grid
from lean3d.errors import DataError
from lean3d.optional import require

__all__ = ["open_tiff", "whole_tiff", "write_tiff"]

SUFFIXES = ".tif", ".tiff", ".ome.tif", ".ome.tiff"
# what tifffile logs where it leaves out, or fills with zeros, what it cannot find
LOST = re.compile(r"invalid page offset|failed to reshape|[Mm]issing data are zeroed")
# axes of tifffile that are pages one behind the other
DEPTH = "ZIQT"


def _is_tiff(start: bytes) -> bool:
    return start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@contextmanager
def whole_tiff(path: Path) -> Iterator[None]:
    """Refuse a file of which tifffile leaves pages out; nothing that it logs is printed.

    Raises:
        DataError: names the file.
    """
    said: list[str] = []
    here, log = get_ident(), logging.getLogger("tifffile")

    def keep(record: logging.LogRecord) -> bool:
        if record.thread != here:
            return True
        said.append(record.getMessage())
        return False

    log.addFilter(keep)
    try:
        yield
    finally:
        log.removeFilter(keep)
    if lost := [text for text in said if LOST.search(text)]:
        raise _unreadable(path, ValueError(re.sub(r"^<.*?> ", "", lost[0])))


@register_reader("TIFF", *SUFFIXES, magic=_is_tiff)
def open_tiff(path: Path, inside: str | None = None) -> Scan:
    """Open a stack: pages are D, rows H and columns W; colours are channels."""
    tifffile = require("tifffile", extra="volume")
    if not path.is_file():
        raise DataError(f"{path} does not exist or is not a file; check the path")
    try:
        with whole_tiff(path), tifffile.TiffFile(path) as file:
            series = _series(file, path)
            axes, shape, dtype = series.axes, series.shape, series.dtype
            spacing = _spacing(file)
    except DataError:
        raise
    # a damaged file fails in whichever line of tifffile reads the damage first
    except Exception as error:
        raise _unreadable(path, error) from error
    order, channels, sides = _layout(axes, shape, path)
    grid = Grid.stack(sides, spacing)

    def load(planes: slice) -> np.ndarray:
        try:
            with whole_tiff(path), tifffile.TiffFile(path) as file:
                series = _series(file, path)
                if sides[0] == 1:
                    x_CDHW = _read(series, path).transpose(order).reshape(channels, *sides)
                    return x_CDHW[:, planes]
                stored = _some(file, series, path, order[-3], planes)
        except DataError:
            raise
        except Exception as error:
            raise _unreadable(path, error) from error
        depth = stored.shape[order[-3]]
        return stored.transpose(order).reshape(channels, depth, *sides[1:])

    return Scan(grid, channels, dtype, load)


@register_writer(".tif", ".tiff")
def write_tiff(
    path: Path, mask_DHW: np.ndarray, grid: Grid, files: tuple[Path, ...], names: tuple[str, ...]
) -> None:
    """Write class numbers as a stack that ImageJ opens with its voxel sizes."""
    tifffile = require("tifffile", extra="volume")
    settings: dict[str, Any] = dict(imagej=True, metadata={"axes": "ZYX"})
    if grid.known:
        depth, height, width = (1000 * side for side in grid.spacing)
        settings["resolution"] = 1 / width, 1 / height
        settings["metadata"] |= {"spacing": depth, "unit": "um"}
    tifffile.imwrite(path, mask_DHW.astype(np.uint8, copy=False), **settings)


def _some(file: Any, series: Any, path: Path, axis: int, planes: slice) -> np.ndarray:
    """Return some planes along an axis of a series, and read no others where that can be."""
    start, stop, step = planes.indices(series.shape[axis])
    part = [slice(None)] * series.ndim
    part[axis] = slice(start, stop, step)
    if start >= stop:
        return np.zeros([n if a != axis else 0 for a, n in enumerate(series.shape)], series.dtype)
    whole = (start, stop, step) == (0, series.shape[axis], 1)
    if not whole and series.dataoffset is not None:
        dtype = series.dtype.newbyteorder(file.byteorder)
        stored = np.memmap(path, dtype, "r", series.dataoffset, tuple(series.shape))
        return np.array(stored[tuple(part)]).astype(series.dtype, copy=False)
    page = len(series.pages[0].shape)
    lead = series.shape[: series.ndim - page]
    if whole or axis >= len(lead) or math.prod(lead) != len(series.pages):
        return _read(series, path)[tuple(part)]
    pages = np.arange(len(series.pages)).reshape(lead)[tuple(part[: len(lead)])]
    return _pages(file, series, path, pages).reshape(*pages.shape, *series.shape[len(lead) :])


def _pages(file: Any, series: Any, path: Path, pages: np.ndarray) -> np.ndarray:
    try:
        return np.stack([series.pages[int(page)].asarray() for page in pages.flat])
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
    with require("PIL.Image", extra="volume").open(path) as image:
        found = []
        for page in pages.flat:
            image.seek(series.pages[int(page)].index)
            found.append(np.asarray(image))
    return np.stack(found)


def _read(series: Any, path: Path) -> np.ndarray:
    try:
        return series.asarray()
    except ValueError as error:
        # LZW and JPEG, which Pillow brings and tifffile gets from another package
        if "imagecodecs" not in str(error):
            raise
    with require("PIL.Image", extra="volume").open(path) as image:
        frames = require("PIL.ImageSequence", extra="volume").Iterator(image)
        return np.stack([np.asarray(frame) for frame in frames]).reshape(series.shape)


def _series(file: Any, path: Path) -> Any:
    """Return the stack of a file; single pages of one size are one."""
    series = [one for one in file.series if one.ndim > 1]
    if not series:
        raise DataError(f"{path} holds no image; export it again")
    # of a file that was written page by page, tifffile makes a series of each page
    alike = {(one.shape, one.dtype, len(one.pages), one.axes) for one in series}
    if len(series) > 1 and len(alike) == 1 and len(series[0].pages) == 1:
        pages, first = [one.pages[0] for one in series], series[0]
        make = require("tifffile", extra="volume").TiffPageSeries
        return make(pages, (len(pages), *first.shape), first.dtype, f"I{first.axes}", parent=file)
    largest = max(series, key=lambda one: one.size)
    others = [one.shape for one in series if one is not largest and one.size > largest.size // 8]
    if others:
        raise DataError(
            f"{path} holds {len(series)} stacks ({_sizes(largest.shape)}, {_sizes(others[0])}, "
            "...); save the one to be read as a file of its own"
        )
    return largest


def _layout(axes: str, shape: Sequence[int], path: Path) -> tuple[list[int], int, Any]:
    """Return the order of axes as channels, depth, rows, columns; the channels; (D, H, W)."""
    long = [i for i, name in enumerate(axes) if shape[i] > 1 or name in "YX"]
    depth = [i for i in long if axes[i] in DEPTH]
    colour = [i for i in long if axes[i] in "CS"]
    place = [axes.index("Y"), axes.index("X")]
    odd = [axes[i] for i in long if i not in [*depth, *colour, *place]]
    if len(depth) > 1 or len(colour) > 1 or odd:
        raise DataError(
            f"{path} has the axes {axes} ({_sizes(shape)}), not pages, rows and columns with "
            "channels at most; save one time point, or one position, as a file of its own"
        )
    short = [i for i in range(len(axes)) if i not in [*depth, *colour, *place]]
    count = shape[colour[0]] if colour else 1
    sides = (shape[depth[0]] if depth else 1, shape[place[0]], shape[place[1]])
    return [*short, *colour, *depth, *place], count, sides


def _spacing(file: Any) -> tuple[float, float, float] | None:
    """Millimetres along D, H, W; None if the file does not say, in a unit of length."""
    if file.is_ome and (found := _ome(file.ome_metadata)):
        return found
    tags = file.pages[0].tags
    given = [tags[name].value for name in ("YResolution", "XResolution") if name in tags]
    pixels = [value[0] / value[1] if value[1] else 0 for value in given]
    if len(pixels) < 2 or min(pixels) <= 0:
        return None
    about = file.imagej_metadata or {}
    unit = millimetres(about.get("unit"))
    if unit is not None:
        height, width = (unit / value for value in pixels)
        # the sign says in which order the slices were taken; a file of one slice may say 0
        return (abs(float(about.get("spacing", 0))) * unit or height, height, width)
    # dots in an inch are those of a printer; a centimetre is set on purpose
    if tags.get("ResolutionUnit") is not None and int(tags["ResolutionUnit"].value) == 3:
        height, width = (10 / value for value in pixels)
        return (height, height, width)
    return None


def _ome(text: str | None) -> tuple[float, float, float] | None:
    pixels = None
    for element in ElementTree.fromstring(text or "<OME/>").iter():
        if element.tag.rpartition("}")[2] == "Pixels":
            pixels = element
            break
    if pixels is None or "PhysicalSizeX" not in pixels.attrib:
        return None
    sides = []
    for axis in "ZYX":
        # a size that is missing is that of X, in its unit
        said = axis if float(pixels.get(f"PhysicalSize{axis}") or 0) > 0 else "X"
        unit = millimetres(pixels.get(f"PhysicalSize{said}Unit", "µm"))
        if unit is None:
            return None
        sides.append(float(pixels.attrib[f"PhysicalSize{said}"]) * unit)
    return (sides[0], sides[1], sides[2]) if min(sides) > 0 else None


def _sizes(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _unreadable(path: Path, error: Exception) -> DataError:
    why = re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__
    return DataError(
        f"{path} cannot be read as TIFF ({why[:160]}); it is damaged or cut short: copy "
        "or export it again"
    )
