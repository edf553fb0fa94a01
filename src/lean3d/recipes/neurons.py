"""Segment a volume with a run of affinities: predict in tiles, decode in blocks, both on disk.

Axes: C channels, K channels of affinities, D depth, H height, W width.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from lean3d.data import instances_of_membranes
from lean3d.data.formats.registry import Scan, split
from lean3d.data.read import open_scan
from lean3d.data.stamp import stamp_of
from lean3d.errors import DataError, RunError
from lean3d.files import write_text
from lean3d.infer import BlockSegmentation, Segmented
from lean3d.infer.block_jobs import processes, run_blocks
from lean3d.infer.chunks import make_array, open_array, read_part
from lean3d.infer.grid import Block, blocks_of
from lean3d.infer.label_store import Form, form_of
from lean3d.lock import held
from lean3d.recipes.affinity import AffinityRecipe
from lean3d.recipes.affinity_tiles import fragments_of, least, tiling, window_affinities
from lean3d.recipes.em_files import NM, check_same_voxels, label_window
from lean3d.recipes.fast import fast_network
from lean3d.recipes.load import WEIGHTS, load_run
from lean3d.recipes.microscopy import DRAWN_NM
from lean3d.shape import Triple

__all__ = ["SegmentSettings", "segment_volume"]

# sections that are copied at once, and the largest block by default
SLAB, BLOCK = 16, (64, 128, 128)
SETTINGS = "settings.json"
# by method
THRESHOLDS: dict[str, tuple[float, ...]] = {
    "watershed": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    "components": (0.5,),
}

Say = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class SegmentSettings:
    """How a volume is segmented.

    Attributes:
        method: watershed merges fragments by the mean of their affinities; mutex keeps them apart
            by long-range ones; components joins neighbours of high affinity, without fragments.
        linkage: Of a merge by watershed: mean, max or min.
        thresholds: Merges that are tried, 0.1 to 0.9 by default: fragments are merged while 1 less
            the affinity between them is below; the best one against the labels is written, or the
            middle one. For components the one affinity, 0.5 by default, above which neighbours
            are joined.
        inside: Affinity above which a voxel is inside a neuron.
        smooth: Smoothing of the distance to boundaries, in voxel widths.
        fill: Let neurons grow over their membranes; else these are background.
        smallest: Neurons of fewer voxels become background.
        block: Voxels that are decoded at once, d h w; the result does not depend on it.
        tile: Voxels that are predicted at once, d h w, without the context.
        context: Voxels around a tile that the network is given, d h w; by default as many as it
            looks at.
        voxel_nm: Size of a voxel, d h w, for files that do not say it.
    """

    method: Literal["watershed", "mutex", "components"] = "watershed"
    linkage: Literal["mean", "max", "min"] = "mean"
    thresholds: tuple[float, ...] | None = None
    inside: float = 0.5
    smooth: float = 1.0
    fill: bool = True
    smallest: int = 0
    block: tuple[int, ...] | None = None
    tile: tuple[int, ...] | None = None
    context: tuple[int, ...] | None = None
    voxel_nm: tuple[float, ...] | None = None


def segment_volume(
    run: str | Path,
    volume: str | Path,
    out: str | Path,
    settings: SegmentSettings | None = None,
    *,
    labels: str | Path | None = None,
    workers: int = 1,
    executor: Executor | None = None,
    device: torch.device | str = "cpu",
    optimize: bool = False,
    keep: bool = False,
    say: Say | None = None,
) -> Segmented:
    """Segment a volume of any size into the folder `out`, or go on after a kill.

    All work is in the folder `<out>.work` beside it, from which the segmentation is moved at the
    end; the same call goes on in it.

    Args:
        out: Ends in .n5 or .precomputed for N5 or neuroglancer's format, else it is OME-Zarr.
        labels: Labels of instances to score against, of the volume's shape or of a part of it that
            their attribute `offset` tells.
        workers: Processes.
        executor: Runs tiles and blocks in place of processes of its own, such as that of a
            cluster, `lean3d.infer.dask_executor`, whose workers share the files.
        device: Where the network computes, or "auto": a GPU where the worker has one. With
            processes of this machine, not "cpu" predicts in this process.
        optimize: Run the network by the fastest backend, which every process finds at its first
            tile.
        keep: Keep the folder with affinities and fragments.

    Raises:
        RunError: the run, a setting or `out` cannot be used.
        DataError: the volume or the labels cannot be read, or do not fit.
    """
    # absolute: workers of a cluster may be in another folder
    settings, out, run = settings or SegmentSettings(), Path(out).absolute(), Path(run).absolute()
    model, recipe = load_run(run)
    if not isinstance(recipe, AffinityRecipe):
        raise RunError(
            f"{run} learnt {recipe.task}, not affinities; train em_short, or use predict"
        )
    if out.exists():
        raise RunError(f"{out} exists already; choose another --out")
    if not out.parent.is_dir():
        raise RunError(f"there is no folder {out.parent} to write --out in; make it first")
    plan = _planned(recipe, model, run, Path(volume).absolute(), settings, form_of(out))
    truth = None
    if labels is not None:
        truth = _Truth.of(Path(labels).absolute(), recipe.membranes, plan.volume, settings)
    work = out.parent / f"{out.name}.work"
    _check_work(work)
    with _written(work), held(work), processes(workers, executor) as pool:
        _begin(work, plan)
        if labels is not None:
            _begin_scores(work, Path(labels).absolute())
        # one GPU serves one process
        alone = executor is None and torch.device(_device(device)).type != "cpu"
        _predict(work, plan, None if alone else pool, str(device), optimize, say)
        job = replace(plan.job, folder=work)
        more: dict[str, Any] = dict(truth=truth, executor=pool, say=say)
        found = job.run(plan.thresholds, **more)
        job.store.folder.rename(out)
    if not keep:
        shutil.rmtree(work)
    return found


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """Everything that decides the result."""

    run: Path
    volume: Path
    shape: Triple
    voxel_nm: tuple[float, float, float]
    tile: Triple
    context: Triple
    thresholds: tuple[float, ...]
    job: BlockSegmentation

    def record(self) -> dict[str, Any]:
        best = self.run / "checkpoints" / "best.ckpt"
        weights = (best if best.exists() else self.run / WEIGHTS).stat()
        job = self.job
        return {
            "volume": _stamp(self.volume),
            "run": str(self.run),
            "weights": [weights.st_size, weights.st_mtime_ns],
            "shape": list(self.shape),
            "voxel_nm": list(self.voxel_nm),
            "first": list(job.first),
            "tile": list(self.tile),
            "context": list(self.context),
            "block": list(job.block),
            "method": job.method,
            # those of a merge may change: it is done again
            "threshold": list(self.thresholds) if job.method == "components" else None,
            "linkage": job.linkage,
            "smallest": job.smallest,
            "watershed": repr(job.watershed),
            "form": job.form,
        }


def _planned(
    recipe: AffinityRecipe,
    model: nn.Module,
    run: Path,
    volume: Path,
    settings: SegmentSettings,
    form: Form,
) -> _Plan:
    scan = open_scan(volume)
    if scan.channels != recipe.in_channels or scan.dtype.kind not in "iuf":
        raise DataError(
            f"{volume} has {scan.channels} channels of {scan.dtype} and the run was trained on "
            f"{recipe.in_channels}; give such a volume"
        )
    shape = scan.grid.shape
    depth, height, width = _voxel_nm(recipe, scan, volume, settings)
    block = _triple(settings.block, "block") or least(BLOCK, shape)
    # refused before the network is looked at
    blocks_of(shape, block)
    watershed = fragments_of(
        recipe,
        (depth, height, width),
        threshold=settings.inside,
        smooth=settings.smooth,
        fill=settings.fill,
    )
    job = BlockSegmentation(
        folder=Path(),
        watershed=watershed,
        block=block,
        method=settings.method,
        linkage=settings.linkage,
        smallest=settings.smallest,
        form=form,
        voxel_nm=(depth, height, width),
        first=scan.first or (0, 0, 0),
    )
    thresholds = _thresholds(settings)
    job.check(thresholds)
    sizes = _triple(settings.tile, "tile"), _triple(settings.context, "context", least=0)
    tile, context = tiling(recipe, model, shape, *sizes)
    return _Plan(
        run=run,
        volume=volume,
        shape=shape,
        voxel_nm=(depth, height, width),
        tile=tile,
        context=context,
        thresholds=thresholds,
        job=job,
    )


def _thresholds(settings: SegmentSettings) -> tuple[float, ...]:
    """Return the thresholds asked for, or those of the method; refuse what it does not use."""
    if settings.method != "watershed" and settings.linkage != "mean":
        raise RunError(
            f"the linkage {settings.linkage} is for method watershed, not {settings.method}; "
            "leave --linkage out"
        )
    if settings.method == "mutex" and settings.thresholds is not None:
        raise RunError("the method mutex has no thresholds; leave --thresholds out")
    if settings.thresholds is None:
        return THRESHOLDS.get(settings.method, ())
    return settings.thresholds


def _voxel_nm(
    recipe: AffinityRecipe, scan: Scan, volume: Path, settings: SegmentSettings
) -> Sequence[float]:
    """Return the sizes asked for, else those of the file, else those of the run."""
    if settings.voxel_nm is not None:
        if len(settings.voxel_nm) != 3 or not min(settings.voxel_nm) > 0:
            raise RunError(f"voxel_nm is three sizes above 0, d h w, got {settings.voxel_nm}")
        return settings.voxel_nm
    if scan.grid.known:
        return [side / NM for side in scan.grid.spacing]
    if recipe.voxel_nm is not None:
        return recipe.voxel_nm
    if recipe.data == "neurites":
        return DRAWN_NM
    raise DataError(f"{volume} does not say how large its voxels are; pass --voxel-nm d h w")


def _check_work(work: Path) -> None:
    """Refuse a folder that is not of this command, as it is removed at the end."""
    if not work.exists() or (work / SETTINGS).exists():
        return
    if not work.is_dir() or any(path.name[0] != "." for path in work.iterdir()):
        raise RunError(f"{work} is in the way; choose another --out, or move it away")


@contextmanager
def _written(work: Path) -> Iterator[None]:
    """Say what a full disk stopped, wherever that was."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot write {work}: {error.strerror or error}; mend that and run the same command "
            "again, it goes on from there"
        ) from error


def _begin_scores(work: Path, labels: Path) -> None:
    """Forget the counts, and the choice, that an earlier command made with other labels."""
    path, stamp = work / "labels.txt", _stamp(labels)
    if path.exists() and path.read_text() != stamp:
        for name in ("done/overlaps", "overlaps", "segmentation"):
            if (work / name).exists():
                shutil.rmtree(work / name)
    write_text(path, stamp)


def _stamp(path: Path) -> str:
    """Return what changes with a file; a folder of chunks is its name, as it may hold millions."""
    return stamp_of(path) if split(path)[0].is_file() else str(path)


def _begin(work: Path, plan: _Plan) -> None:
    record, path = plan.record(), work / SETTINGS
    if path.exists():
        try:
            before = json.loads(path.read_text())
        except ValueError as error:
            raise RunError(
                f"{path} is damaged ({error}); delete the folder {work} and begin again"
            ) from error
        other = [name for name in record if record[name] != before.get(name)]
        if other:
            raise RunError(
                f"{work} was begun with another {other[0]}; give the settings it was begun with, "
                "or delete the folder"
            )
        return
    write_text(path, json.dumps(record, indent=1) + "\n")


def _predict(
    work: Path, plan: _Plan, pool: Executor | None, device: str, optimize: bool, say: Say | None
) -> None:
    scan, shape = open_scan(plan.volume), plan.shape

    def tell(name: str) -> Callable[[int, int], None] | None:
        return None if say is None else partial(say, name)

    # formats that are read by whole slices are copied, as tiles would read the same ones
    if scan.part is None:
        chunks = (scan.channels, SLAB, 128, 128)
        make_array(work / "raw", (scan.channels, *shape), chunks, scan.dtype.str)
        slabs = blocks_of(shape, (min(SLAB, shape[0]), shape[1], shape[2]))
        copy = partial(_copy, work, plan.volume)
        run_blocks(copy, slabs, work / "done" / "raw", executor=pool, say=tell("raw"))
    count = len(plan.job.watershed.offsets)
    make_array(work / "affinities", (count, *shape), (count, *plan.tile), "uint8")
    tiles = blocks_of(shape, plan.tile)
    job = partial(_affinities, work, plan, device, optimize)
    run_blocks(job, tiles, work / "done" / "affinities", executor=pool, say=tell("affinities"))


def _copy(work: Path, volume: Path, block: Block) -> None:
    sections = block.core[0]
    open_array(work / "raw")[:, sections] = open_scan(volume).load(sections)


def _device(name: torch.device | str) -> torch.device | str:
    if str(name) == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


@lru_cache(maxsize=1)
def _network(run: Path, device: str, optimize: bool) -> tuple[nn.Module, AffinityRecipe]:
    """Load a run once for each process."""
    model, recipe = load_run(run)
    assert isinstance(recipe, AffinityRecipe)
    return (fast_network(model, run) if optimize else model).to(_device(device)), recipe


def _affinities(work: Path, plan: _Plan, device: str, optimize: bool, block: Block) -> None:
    model, recipe = _network(plan.run, device, optimize)
    window = block.window(plan.context)
    if (work / "raw").exists():
        raw = read_part(work / "raw", (slice(None), *window))
    else:
        raw = open_scan(plan.volume).window(window)
    if raw.dtype.kind == "f" and not np.isfinite(raw).all():
        raise DataError(f"{plan.volume} holds NaN or infinity; replace them")
    levels = window_affinities(model, recipe, raw, block.inside(plan.context))
    open_array(work / "affinities")[(slice(None), *block.core)] = levels


@dataclass(frozen=True)
class _Truth:
    """Reads windows of the labels to score against; what they do not cover is unlabelled.

    Args:
        first: The place of their first voxel in the volume.
    """

    path: Path
    membranes: bool
    first: Triple

    @classmethod
    def of(cls, path: Path, membranes: bool, volume: Path, settings: SegmentSettings) -> "_Truth":
        """Refuse labels of another shape or kind."""
        scan, image = open_scan(path), open_scan(volume)
        if scan.channels != 1 or scan.dtype.kind not in "iub":
            raise DataError(
                f"the labels {path} have {scan.channels} channel(s) of {scan.dtype}; give one "
                "whole number for each voxel"
            )
        window = label_window(image, volume, scan, path)
        if settings.voxel_nm is None:
            check_same_voxels(image, volume, scan, path)
        first = (0, 0, 0) if window is None else [part.start for part in window]
        return cls(path, membranes, (first[0], first[1], first[2]))

    def __call__(self, window: tuple[slice, slice, slice]) -> np.ndarray:
        scan = open_scan(self.path)
        sizes = [part.stop - part.start for part in window]
        labels = np.full(sizes, -1, np.int64)
        # where the window and the labels overlap, in the labels and in the window
        ends = [
            (max(w.start - f, 0), min(w.stop - f, n))
            for w, f, n in zip(window, self.first, scan.grid.shape, strict=True)
        ]
        if any(low >= high for low, high in ends):
            return labels
        z, y, x = (slice(low, high) for low, high in ends)
        inner = tuple(
            slice(low + f - w.start, high + f - w.start)
            for (low, high), f, w in zip(ends, self.first, window, strict=True)
        )
        if self.membranes:
            # cells are numbered in whole sections
            (sections,) = scan.load(z)
            cells = [_cells(section, number) for number, section in enumerate(sections, z.start)]
            labels[inner] = np.stack(cells)[:, y, x]
        else:
            labels[inner] = scan.window((z, y, x))[0].astype(np.int64)
        return labels


def _cells(section_HW: np.ndarray, number: int) -> np.ndarray:
    """Label the cells of a whole section by numbers that no other section has."""
    inside = torch.from_numpy(section_HW[None].astype(np.int64))
    cells = instances_of_membranes(inside).numpy()[0]
    return np.where(cells > 0, cells + number * cells.size, 0)


def _triple(sizes: Sequence[int] | None, name: str, least: int = 1) -> Triple | None:
    if sizes is None:
        return None
    if len(sizes) != 3 or min(sizes) < least:
        raise RunError(f"{name} is three sizes of {least} or more, d h w, got {tuple(sizes)}")
    return (sizes[0], sizes[1], sizes[2])
