"""Volumes of any format in neuroglancer: chunk by chunk, from a server on this machine.

Axes: C channels, D depth (z), H height (y), W width (x).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lean3d.data.read import open_scan
from lean3d.errors import DataError
from lean3d.limits import free_memory
from lean3d.optional import require
from lean3d.shape import Triple

__all__ = ["open_viewer"]

NM = 1e-6  # in millimetres
# how many voxels neuroglancer makes one of, where no coarser scale is stored
ON_THE_FLY = 64
# voxels a side of the cube whose grey values set the contrast
CUBE = 64
# segment numbers that neuroglancer shows as they are, and what others become
WHOLE = {"i": {1: "int8", 2: "int16", 4: "int32", 8: "uint64"}, "b": {1: "uint8"}}
SHADER = "#uicontrol invlerp normalized\nvoid main() { emitGrayscale(normalized()); }"


def open_viewer(
    images: Mapping[str, str | Path],
    segmentations: Mapping[str, str | Path],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
) -> Any:
    """Open volumes as layers of a viewer; its server ends with this process.

    Nothing is read before the browser asks for it, but a small cube for the contrast.

    Args:
        images: Name of a layer -> a volume of any format that lean3d reads.
        segmentations: Name -> a volume of labels.
        host: Address that the server listens at; 0.0.0.0 for browsers on other machines.
        port: 0 takes a free one.

    Returns:
        A `neuroglancer.Viewer`; its `get_viewer_url()` is what a browser opens.

    Raises:
        DataError: a volume cannot be read, or its labels are no whole numbers.
    """
    neuroglancer = require("neuroglancer", extra="view")
    found = {name: _Lazy(Path(path), labels=False) for name, path in images.items()}
    labels = {name: _Lazy(Path(path), labels=True) for name, path in segmentations.items()}
    if not neuroglancer.is_server_running() or (host, port) != ("127.0.0.1", 0):
        neuroglancer.set_server_bind_address(host, port)
    viewer = neuroglancer.Viewer()
    with viewer.txn() as state:
        for name, volume in found.items():
            low, high = volume.contrast()
            state.layers[name] = neuroglancer.ImageLayer(
                source=_placed(volume, "image"),
                shader=SHADER,
                shader_controls={"normalized": {"range": [low, high]}},
            )
        for name, volume in labels.items():
            state.layers[name] = neuroglancer.SegmentationLayer(
                source=_placed(volume, "segmentation")
            )
    return viewer


def _placed(volume: "_Lazy", kind: str) -> Any:
    """Return the source of a volume at its place in a larger one."""
    neuroglancer, source = require("neuroglancer", extra="view"), _source(volume, kind)
    if not any(volume.first):
        return source
    rank = len(volume.first)
    moved = np.concatenate([np.eye(rank), np.array(volume.first)[:, None]], 1)
    move = neuroglancer.CoordinateSpaceTransform(output_dimensions=source.dimensions, matrix=moved)
    return neuroglancer.LayerDataSource(url=source, transform=move)


def _source(volume: "_Lazy", kind: str) -> Any:
    neuroglancer = require("neuroglancer", extra="view")
    local = require("neuroglancer.local_volume", extra="view")

    class Source(local.LocalVolume):  # type: ignore[name-defined]
        """Makes surfaces of segments only where the volume fits in memory."""

        def _get_mesh_generator(self) -> Any:
            if not volume.fits():
                raise local.MeshesNotSupportedForVolume
            return super()._get_mesh_generator()

        def get_encoded_subvolume(
            self, data_format: str, start: Any, end: Any, scale_key: str
        ) -> tuple[bytes, str]:
            """Serve from the coarsest stored scale whose voxels divide those asked for."""
            asked = np.array(scale_key.split(","), np.int64)
            for factor, scale in stored:
                if not (asked % factor).any():
                    rest = ",".join(map(str, asked // factor))
                    return scale.get_encoded_subvolume(data_format, start, end, rest)
            return super().get_encoded_subvolume(data_format, start, end, scale_key)

    stored = [(factor, _source(one, kind)) for factor, one in volume.coarser()]
    # what is made of a scale on the fly, times what is stored
    most = ON_THE_FLY * max((int(np.prod(factor)) for factor, _ in stored), default=1)
    names = ["x", "y", "z", "c^"][: len(volume.shape)]
    units = ["nm", "nm", "nm", ""][: len(names)]
    space = neuroglancer.CoordinateSpace(names=names, units=units, scales=volume.scales)
    return Source(data=volume, dimensions=space, volume_type=kind, max_downsampling=most)


class _Lazy:
    """A volume as an array (W, H, D), or (W, H, D, C), that is read where it is indexed."""

    def __init__(self, path: Path, labels: bool):
        self.scan, self.path, self.labels = open_scan(path), path, labels
        stored = self.scan.dtype
        if labels and (stored.kind not in "iub" or self.scan.channels != 1):
            raise DataError(
                f"{path} has {self.scan.channels} channels of {stored}, and labels are one whole "
                "number a voxel; give the file of the labels, or --raw"
            )
        kinds = WHOLE.get(stored.kind, {})
        self.dtype = np.dtype(kinds.get(stored.itemsize, stored.name))
        if not labels and stored.itemsize == 8:
            self.dtype = np.dtype("float32")
        depth, height, width = self.scan.grid.shape
        channels = () if self.scan.channels == 1 else (self.scan.channels,)
        self.shape = (width, height, depth, *channels)
        spacing = self.scan.grid.spacing if self.scan.grid.known else (NM, NM, NM)
        self.first = [*(self.scan.first or (0, 0, 0))[::-1], *([0] * len(channels))]
        self.scales = [side / NM for side in spacing[::-1]] + [1] * len(channels)

    def coarser(self) -> list[tuple[np.ndarray, "_Lazy"]]:
        """Return stored scales, the coarsest first, by how many voxels (W, H, D) one of theirs is.

        Scales of sizes that do not follow from the first one are left out.
        """
        found = []
        for name in self.scan.scales[::-1]:
            one = _Lazy(Path(f"{self.path}:{name}"), self.labels)
            factor = np.rint(np.array(one.scales) / self.scales).astype(np.int64)
            sizes = -(-np.array(self.shape) // factor.clip(1))
            known = self.scan.grid.known and one.scan.grid.known
            if known and one.dtype == self.dtype and tuple(sizes) == one.shape:
                found.append((factor, one))
        return found

    def __getitem__(self, window: tuple[slice, ...]) -> np.ndarray:
        x, y, z, *c = window
        part = self.scan.window((z, y, x)).astype(self.dtype, copy=False)
        return part[c[0]].T if c else part[0].T

    def transpose(self) -> np.ndarray:
        """Return the whole volume (D, H, W), for surfaces."""
        return np.ascontiguousarray(self.scan.load(slice(None))[0].astype(self.dtype, copy=False))

    def fits(self) -> bool:
        """Whether the volume, and what surfaces take, fit in memory."""
        free = free_memory()
        return free is None or 4 * self.dtype.itemsize * int(np.prod(self.shape)) < free

    def contrast(self) -> tuple[float, float]:
        """Return the range of the grey values in the middle, without the rarest."""
        middle: Triple = self.scan.grid.shape
        z, y, x = (slice(max(0, (n - CUBE) // 2), (n - CUBE) // 2 + CUBE) for n in middle)
        low, high = np.percentile(self.scan.window((z, y, x)), (0.5, 99.5)).tolist()
        return (low, high) if low < high else (low, low + 1)
