"""A segmentation on disk, written block by block: OME-Zarr, N5 or neuroglancer's precomputed.

Axes: D depth (z), H height (y), W width (x).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lean3d.files import write_text
from lean3d.infer.chunks import make_array, open_array, read_part, write_ome
from lean3d.infer.scales import coarser_scales, most_frequent
from lean3d.optional import require
from lean3d.shape import Triple

__all__ = ["Form", "LabelStore", "form_of"]

Form = Literal["zarr", "n5", "precomputed"]
Window = tuple[slice, slice, slice]
DRIVERS = {"n5": "n5", "precomputed": "neuroglancer_precomputed"}
# voxels (x, y, z) that neuroglancer's compression of labels takes together
CUBE = [8, 8, 8]
# the longest side of a chunk, the shortest that a block is cut into, and that of coarser scales
CHUNK, LEAST, COARSE = 128, 32, 64


def form_of(path: Path) -> Form:
    """Return the format that the ending of a name asks for: .n5, .precomputed, else OME-Zarr."""
    endings: dict[str, Form] = {".n5": "n5", ".precomputed": "precomputed"}
    return endings.get(path.suffix.lower(), "zarr")


@dataclass(frozen=True)
class LabelStore:
    """A volume of labels, uint32, in a folder, with coarser scales for viewers.

    Args:
        voxel_nm: Size of a voxel (D, H, W) in nanometres.
        first: Place (D, H, W) of the first voxel in a larger volume, in voxels.
    """

    folder: Path
    form: Form = "zarr"
    voxel_nm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    first: Triple = (0, 0, 0)

    def coarser(self, shape: Triple) -> list[tuple[Triple, Triple]]:
        """Return the shape of each coarser scale, and its step from the one before it."""
        found, before = [], np.ones(3, int)
        for factor in coarser_scales(shape, self.voxel_nm):
            depth, height, width = (-(-n // f) for n, f in zip(shape, factor, strict=True))
            step = (np.array(factor) // before).tolist()
            found.append(((depth, height, width), (step[0], step[1], step[2])))
            before = np.array(factor)
        return found

    def make(self, shape: Triple, block: Triple) -> None:
        """Make an array of zeros for each scale, unless it is there; blocks are whole chunks.

        Blocks that workers write beside each other must not share a chunk.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.form == "n5":
            factors = [(1, 1, 1), *coarser_scales(shape, self.voxel_nm)]
            about = {"n5": "4.0.0", "axes": list("xyz"), **self._n5_units()}
            about |= {"scales": [list(factor)[::-1] for factor in factors]}
            write_text(self.folder / "attributes.json", json.dumps(about) + "\n")
        self._make(0, shape, _chunk(block, shape), (1, 1, 1))
        factors = coarser_scales(shape, self.voxel_nm)
        for scale, (factor, (sides, _)) in enumerate(
            zip(factors, self.coarser(shape), strict=True), start=1
        ):
            depth, height, width = (min(COARSE, n) for n in sides)
            self._make(scale, sides, (depth, height, width), factor)
        if self.form == "zarr":
            scales = [(1, 1, 1), *factors]
            write_ome(self.folder, self.voxel_nm, self.folder.name, scales, self.first)

    def write(self, window: Window, labels: np.ndarray, scale: int = 0) -> None:
        """Write a block."""
        try:
            if self.form == "zarr":
                open_array(self.folder / str(scale))[window] = labels
            else:
                self._turned(scale)[window].write(labels).result()
        except ValueError as error:
            raise _failed(error) from error

    def read(self, window: Window, scale: int = 0) -> np.ndarray:
        """Read a window (d, h, w)."""
        if self.form == "zarr":
            return read_part(self.folder / str(scale), window)
        return np.asarray(self._turned(scale)[window].read().result())

    def shrink(self, scale: int, step: Triple, window: Window) -> None:
        """Write a block of a coarser scale from the scale before it."""
        if self.form == "zarr":
            shape = open_array(self.folder / str(scale - 1)).shape
        else:
            shape = self._turned(scale - 1).shape
        z, y, x = (
            slice(w.start * s, min(w.stop * s, n))
            for w, s, n in zip(window, step, shape, strict=True)
        )
        self.write(window, most_frequent(self.read((z, y, x), scale - 1), step), scale)

    def _make(self, scale: int, shape: Triple, chunk: Triple, factor: Triple) -> None:
        if self.form == "zarr":
            make_array(self.folder / str(scale), shape, chunk, "uint32")
            return
        voxel = [side * f for side, f in zip(self.voxel_nm, factor, strict=True)]
        sizes, chunk_xyz, sides = (list(v)[::-1] for v in (shape, chunk, voxel))
        if self.form == "n5":
            more: dict[str, Any] = {"dimensions": sizes, "blockSize": chunk_xyz}
            more |= {"dataType": "uint32", "compression": {"type": "gzip", "level": 1}}
            more |= {"axes": list("xyz"), "downsamplingFactors": list(factor)[::-1]}
            # coarser scales have the size of the folder around them, times the factors
            more |= self._n5_units() if scale == 0 else {}
            if any(self.first):
                place = [side * n for side, n in zip(self.voxel_nm, self.first, strict=True)]
                more |= {"offset": place[::-1]}
            self._open(scale, metadata=more, create=True)
            return
        about: dict[str, Any] = {"key": "_".join(f"{side:g}" for side in sides)}
        about |= {"size": sizes, "chunk_size": chunk_xyz, "resolution": sides}
        # in whole voxels of the scale
        about |= {"voxel_offset": [n // f for n, f in zip(self.first, factor, strict=True)][::-1]}
        about |= {"encoding": "compressed_segmentation", "compressed_segmentation_block_size": CUBE}
        volume = {"type": "segmentation", "data_type": "uint32", "num_channels": 1}
        # by its key: the scale has no index yet
        self._open(None, multiscale_metadata=volume, scale_metadata=about, create=True)

    def _n5_units(self) -> dict[str, Any]:
        return {"units": ["nm"] * 3, "resolution": list(self.voxel_nm)[::-1]}

    def _turned(self, scale: int) -> Any:
        """Return the array with axes z, y, x from 0; precomputed volumes have channels too."""
        store = self._open(scale).translate_to[0].T
        return store[0] if store.rank == 4 else store

    def _open(self, scale: int | None, **more: Any) -> Any:
        tensorstore = require("tensorstore", extra="neurons")
        folder = self.folder / f"s{scale}" if self.form == "n5" else self.folder
        if self.form == "precomputed" and scale is not None:
            more["scale_index"] = scale
        kvstore = {"driver": "file", "path": f"{folder.absolute()}/"}
        spec = {"driver": DRIVERS[self.form], "kvstore": kvstore, "open": True, **more}
        try:
            return tensorstore.open(spec, read=True, write=True).result()
        except ValueError as error:
            raise _failed(error) from error


def _chunk(block: Triple, shape: Triple) -> Triple:
    """Return the sides of chunks: parts of a block, small enough to be looked at one by one."""
    depth, height, width = (_part(b, n) for b, n in zip(block, shape, strict=True))
    return depth, height, width


def _part(block: int, length: int) -> int:
    if block >= length:
        return min(CHUNK, length)
    cuts = (n for n in range(1, block) if block % n == 0 and LEAST <= block // n <= CHUNK)
    return block // next(cuts, 1)


def _failed(error: ValueError) -> OSError:
    """Return what other writers of files raise; tensorstore's text repeats the specification."""
    return OSError(str(error).partition(" [")[0])
