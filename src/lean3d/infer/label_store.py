"""A segmentation on disk, written block by block: OME-Zarr, N5 or neuroglancer's precomputed.

Axes: D depth (z), H height (y), W width (x).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lean3d.files import write_text
from lean3d.infer.chunks import make_array, open_array, write_ome
from lean3d.optional import require
from lean3d.shape import Triple

__all__ = ["Form", "LabelStore", "form_of"]

Form = Literal["zarr", "n5", "precomputed"]
Window = tuple[slice, slice, slice]
DRIVERS = {"n5": "n5", "precomputed": "neuroglancer_precomputed"}
# voxels (x, y, z) that neuroglancer's compression of labels takes together
CUBE = [8, 8, 8]


def form_of(path: Path) -> Form:
    """Return the format that the ending of a name asks for: .n5, .precomputed, else OME-Zarr."""
    endings: dict[str, Form] = {".n5": "n5", ".precomputed": "precomputed"}
    return endings.get(path.suffix.lower(), "zarr")


@dataclass(frozen=True)
class LabelStore:
    """A volume of labels, uint32, in a folder.

    Args:
        voxel_nm: Size of a voxel (D, H, W) in nanometres.
    """

    folder: Path
    form: Form = "zarr"
    voxel_nm: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def make(self, shape: Triple, block: Triple) -> None:
        """Make an array of zeros, unless it is there; blocks are its chunks.

        Blocks that workers write beside each other must not share a chunk.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        chunk = [min(a, b) for a, b in zip(block, shape, strict=True)]
        if self.form == "zarr":
            make_array(self.folder / "0", shape, chunk, "uint32")
            write_ome(self.folder, self.voxel_nm, self.folder.name)
            return
        sizes, chunk_xyz, sides = (list(v)[::-1] for v in (shape, chunk, self.voxel_nm))
        if self.form == "n5":
            write_text(self.folder / "attributes.json", '{"n5": "4.0.0"}\n')
            more: dict[str, Any] = {"dimensions": sizes, "blockSize": chunk_xyz}
            more |= {"dataType": "uint32", "compression": {"type": "gzip", "level": 1}}
            more |= {"axes": list("xyz"), "units": ["nm"] * 3, "resolution": sides}
            self._open(metadata=more, create=True)
            return
        scale: dict[str, Any] = {"key": "_".join(f"{side:g}" for side in sides)}
        scale |= {"size": sizes, "chunk_size": chunk_xyz, "resolution": sides}
        scale |= {"encoding": "compressed_segmentation", "compressed_segmentation_block_size": CUBE}
        volume = {"type": "segmentation", "data_type": "uint32", "num_channels": 1}
        self._open(multiscale_metadata=volume, scale_metadata=scale, create=True)

    def write(self, window: Window, labels: np.ndarray) -> None:
        """Write a block."""
        if self.form == "zarr":
            open_array(self.folder / "0")[window] = labels
            return
        try:
            self._turned()[window].write(labels).result()
        except ValueError as error:
            raise _failed(error) from error

    def read(self, window: Window) -> np.ndarray:
        """Read a window (d, h, w)."""
        if self.form == "zarr":
            return open_array(self.folder / "0")[window]
        return np.asarray(self._turned()[window].read().result())

    def _turned(self) -> Any:
        """Return the array with axes z, y, x; precomputed volumes have channels too."""
        store = self._open().T
        return store[0] if store.rank == 4 else store

    def _open(self, **more: Any) -> Any:
        tensorstore = require("tensorstore", extra="neurons")
        folder = self.folder / "s0" if self.form == "n5" else self.folder
        kvstore = {"driver": "file", "path": f"{folder.absolute()}/"}
        spec = {"driver": DRIVERS[self.form], "kvstore": kvstore, "open": True, **more}
        try:
            return tensorstore.open(spec, read=True, write=True).result()
        except ValueError as error:
            raise _failed(error) from error


def _failed(error: ValueError) -> OSError:
    """Return what other writers of files raise; tensorstore's text repeats the specification."""
    return OSError(str(error).partition(" [")[0])
