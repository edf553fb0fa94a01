"""Decode affinities on disk into a segmentation, block by block.

Fragments, their numbers and their contacts do not depend on the blocks, and neither does the
merging of their graph; so the segmentation is the same for any size of blocks and any workers.
Memory holds one block with its halo for each worker, and the graph of the fragments.

Axes: K channels, D depth, H height, W width.
"""

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from lean3d.errors import RunError
from lean3d.infer.affinities import is_near
from lean3d.infer.block_components import block_components, check_components, crossings
from lean3d.infer.block_jobs import processes, run_blocks
from lean3d.infer.chunks import load_table, make_array, open_array, read_part, save_table
from lean3d.infer.fragment_graph import Contacts, FragmentGraph, contacts
from lean3d.infer.grid import Block, blocks_of
from lean3d.infer.label_store import Form, LabelStore
from lean3d.infer.merging import NO_LONG_RANGE, agglomerate_graph, check_thresholds, mutex_graph
from lean3d.infer.stitch import Numbering, exits, number_components, number_fragments
from lean3d.infer.watershed import Watershed
from lean3d.limits import check_counts
from lean3d.metrics import InstanceScores, OverlapTable, overlap_table
from lean3d.shape import Triple

__all__ = ["BlockSegmentation", "Segmented"]

ONE: Triple = (1, 1, 1)
# voxels of a coarser scale that are computed at once; whole chunks
COARSE: Triple = (64, 128, 128)
OTHER = (
    "{} holds a segmentation with another threshold or smallest size; give the same ones, or "
    "delete the folder"
)
Say = Callable[[str, int, int], None]
# reads the labels of a window of the truth
Truth = Callable[[tuple[slice, slice, slice]], np.ndarray]


@dataclass(frozen=True)
class Segmented:
    """What was found.

    Attributes:
        fragments: Number of fragments.
        instances: Number of instances in the segmentation that was written.
        threshold: Its threshold; None for the mutex watershed.
        scores: By threshold, against the truth if it was given.
    """

    fragments: int
    instances: int
    threshold: float | None
    scores: dict[float | None, InstanceScores]


@dataclass(frozen=True, kw_only=True)
class BlockSegmentation:
    """A segmentation of affinities in blocks, with all that it keeps on disk.

    Args:
        folder: Holds `affinities`, a Zarr array (K, D, H, W) uint8, and gets all results; the
            segmentation is in `segmentation`.
        watershed: Settings of the fragments.
        block: Voxels of a block (D, H, W).
        method: "watershed" merges by the mean affinity of contacts, as waterz does; "mutex" keeps
            fragments apart by long-range affinities; "components" joins neighbours whose affinity
            is above a threshold, without fragments.
        linkage: Of a merge by watershed; see `agglomerate_graph`.
        smallest: Instances of fewer voxels become background.
        form: Of the segmentation: "zarr" (OME-Zarr), "n5" or "precomputed" (neuroglancer's).
        voxel_nm: Size of a voxel (D, H, W) that the segmentation says, in nanometres.
        first: Place (D, H, W) of its first voxel in a larger volume that it says, in voxels.
    """

    folder: Path
    watershed: Watershed
    block: Triple
    method: Literal["watershed", "mutex", "components"] = "watershed"
    linkage: str = "mean"
    smallest: int = 0
    form: Form = "zarr"
    voxel_nm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    first: Triple = (0, 0, 0)

    def run(
        self,
        thresholds: Sequence[float] = (0.5,),
        *,
        truth: Truth | None = None,
        workers: int = 1,
        executor: Executor | None = None,
        say: Say | None = None,
    ) -> Segmented:
        """Segment, or go on where a run in the folder was killed.

        Args:
            thresholds: Merges that are tried; the one with the lowest variation of information is
                written if the truth is given, otherwise the middle one. Components take one.
            truth: Labels to score against; 0 and negative ones are left out.
            workers: Processes.
            executor: Runs the blocks in place of processes of its own, as for `run_blocks`.
        """
        shape = self._shape()
        blocks = blocks_of(shape, self.block)
        self.check(thresholds)
        with processes(workers, executor) as pool:
            return self._stages(blocks, thresholds, truth, pool, say)

    def _stages(
        self,
        blocks: Sequence[Block],
        thresholds: Sequence[float],
        truth: Truth | None,
        executor: Executor | None,
        say: Say | None,
    ) -> Segmented:
        shape = blocks[0].shape

        def stage(name: str, job: Callable[[Block], None], parts: Sequence[Block] = blocks) -> None:
            tell = None if say is None else partial(say, name)
            done = self.folder / "done" / name.replace(" ", "_")
            run_blocks(job, parts, done, executor=executor, say=tell)

        for name in ("fragments", "links", "contacts", "overlaps"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        make_array(self.folder / "numbers", shape, self.block, "uint64")
        if self.method == "components":
            self._same_threshold(thresholds[0])
            stage("fragments", partial(_components, self, thresholds[0]))
            stage("links", partial(_crossings, self, thresholds[0]))
        else:
            stage("fragments", partial(_fragments, self))
            stage("links", partial(_links, self))
        self._number(blocks)
        if self.method != "components":
            stage("contacts", partial(_contacts, self))
        if truth is not None:
            stage("overlaps", partial(_overlaps, self, truth))
        lookups = self._merge(blocks, thresholds)
        scores = self._scores(blocks, lookups) if truth is not None else {}
        best: float | None
        if scores:
            best = min(scores, key=lambda t: scores[t].vi)
        else:
            best = list(lookups)[len(lookups) // 2]
        if not self.store.folder.exists():
            self._forget()
        instances = self._keep(lookups[best], blocks)
        self.store.make(shape, self.block)
        stage("segmentation", partial(_write, self))
        for number, (coarse, step) in enumerate(self.store.coarser(shape), start=1):
            cut = [min(a, b) for a, b in zip(COARSE, coarse, strict=True)]
            parts = blocks_of(coarse, (cut[0], cut[1], cut[2]))
            stage(f"scale {number}", partial(_shrink, self, number, step), parts)
        fragments = len(lookups[best]) - 1
        return Segmented(fragments, instances, best, scores)

    def _shape(self) -> Triple:
        _, depth, height, width = open_array(self.folder / "affinities").shape
        return depth, height, width

    def check(self, thresholds: Sequence[float]) -> None:
        """Refuse settings before anything is computed.

        Raises:
            RunError: an unknown method, no threshold, several for components, or a mutex watershed
                of nearest neighbours.
            LeanError: a threshold that is not from 0 to 1, or a smallest size below 0.
        """
        check_counts("a segmentation", low=0, smallest=self.smallest)
        if self.method == "watershed":
            check_thresholds(thresholds)
        elif self.method == "components":
            check_components(self.watershed.offsets, check_thresholds(thresholds))
        elif self.method != "mutex":
            raise RunError(
                f"no method called {self.method!r}; blocks have watershed, mutex and components"
            )
        elif all(map(is_near, self.watershed.offsets)):
            raise RunError(NO_LONG_RANGE)

    @property
    def store(self) -> LabelStore:
        """The segmentation on disk."""
        return LabelStore(self.folder / "segmentation", self.form, self.voxel_nm, self.first)

    @property
    def reach(self) -> Triple:
        """The length of the longest offsets."""
        depth, height, width = (max(abs(o[a]) for o in self.watershed.offsets) for a in range(3))
        return depth, height, width

    def affinities(self, window: tuple[slice, slice, slice]) -> np.ndarray:
        """Read a window (K, d, h, w)."""
        return read_part(self.folder / "affinities", (slice(None), *window))

    def numbering(self) -> Numbering:
        """Read the labels of all fragments."""
        return Numbering(*load_table(self.folder / "numbering.npz", "numbers", "labels"))

    def table(self, kind: str, block: Block) -> Path:
        """The file of a block's results."""
        return self.folder / kind / f"{block.index}.npz"

    @property
    def bare(self) -> bool:
        """Whether membranes become background; that of components are."""
        return self.method != "components" and not self.watershed.fill

    def _same_threshold(self, threshold: float) -> None:
        """Refuse components of another threshold than those in the folder."""
        path = self.folder / "threshold.npz"
        if not path.exists():
            save_table(path, threshold=np.array(threshold))
        elif load_table(path, "threshold")[0] != threshold:
            raise RunError(OTHER.format(self.folder))

    def _number(self, blocks: Sequence[Block]) -> None:
        path = self.folder / "numbering.npz"
        if path.exists():
            return
        found = [load_table(self.table("fragments", b), "numbers")[0] for b in blocks]
        links = [load_table(self.table("links", b), "names", "targets") for b in blocks]
        join = number_components if self.method == "components" else number_fragments
        numbering = join(found, [(a, b) for a, b in links])
        save_table(path, numbers=numbering.numbers, labels=numbering.labels)

    def _graph(self, blocks: Sequence[Block]) -> FragmentGraph:
        columns = ("pairs", "count", "total")
        parts: list[list[Contacts]] = []
        for kind in ("near", "far"):
            names = [f"{kind}_{column}" for column in columns]
            parts.append([Contacts(*load_table(self.table("contacts", b), *names)) for b in blocks])
        near, far = (Contacts.added(part) for part in parts)
        return FragmentGraph(self.numbering().count, near, far)

    def _merge(
        self, blocks: Sequence[Block], thresholds: Sequence[float]
    ) -> dict[float | None, np.ndarray]:
        if self.method == "components":
            # they are whole
            return {float(thresholds[0]): np.arange(self.numbering().count + 1, dtype=np.uint64)}
        graph = self._graph(blocks)
        if self.method == "mutex":
            return {None: mutex_graph(graph)}
        return {
            float(t): agglomerate_graph(graph, t, linkage=self.linkage) for t in sorted(thresholds)
        }

    def _scores(
        self, blocks: Sequence[Block], lookups: dict[float | None, np.ndarray]
    ) -> dict[float | None, InstanceScores]:
        columns = ("segment", "truth", "voxels")
        tables = [OverlapTable(*load_table(self.table("overlaps", b), *columns)) for b in blocks]
        total = OverlapTable.total(tables)
        found = {}
        for threshold, lookup in lookups.items():
            kept = self._without_small(lookup, blocks)
            found[threshold] = total.merged(kept).scores()
        return found

    def _forget(self) -> None:
        """Drop the marks of a segmentation that is not here: it was moved when it was whole."""
        (self.folder / "lookup.npz").unlink(missing_ok=True)
        for name in ("segmentation", "scale_*"):
            for marks in (self.folder / "done").glob(name):
                shutil.rmtree(marks)

    def _keep(self, lookup: np.ndarray, blocks: Sequence[Block]) -> int:
        """Store the segment of each fragment, numbered from 1, for the last stage."""
        kept = self._without_small(lookup, blocks)
        found = np.unique(kept)
        found = found[found > 0]
        final = np.where(kept > 0, np.searchsorted(found, kept) + 1, 0).astype(np.uint32)
        path = self.folder / "lookup.npz"
        if not path.exists():
            save_table(path, lookup=final)
        elif not np.array_equal(load_table(path, "lookup")[0], final):
            raise RunError(OTHER.format(self.folder))
        return len(found)

    def _without_small(self, lookup: np.ndarray, blocks: Sequence[Block]) -> np.ndarray:
        if self.smallest < 2:
            return lookup
        numbering, sizes = self.numbering(), np.zeros(len(lookup), np.int64)
        for block in blocks:
            numbers, voxels = load_table(self.table("fragments", block), "numbers", "voxels")
            np.add.at(sizes, numbering.apply(numbers).astype(np.int64), voxels)
        whole = np.bincount(lookup.astype(np.int64), sizes, minlength=int(lookup.max()) + 1)
        return np.where(whole[lookup] >= self.smallest, lookup, 0)


def _fragments(job: BlockSegmentation, block: Block) -> None:
    window = block.window(job.watershed.halo)
    _save_numbers(job, block, job.watershed.block(job.affinities(window), block))


def _components(job: BlockSegmentation, threshold: float, block: Block) -> None:
    affinity = job.affinities(block.window(ONE))
    offsets = job.watershed.offsets
    _save_numbers(job, block, block_components(affinity, block, offsets, threshold))


def _save_numbers(job: BlockSegmentation, block: Block, numbers: np.ndarray) -> None:
    open_array(job.folder / "numbers")[block.core] = numbers
    found, voxels = np.unique(numbers[numbers > 0], return_counts=True)
    save_table(job.table("fragments", block), numbers=found, voxels=voxels)


def _links(job: BlockSegmentation, block: Block) -> None:
    window = read_part(job.folder / "numbers", block.window(ONE))
    names, targets = exits(window, block, ONE)
    save_table(job.table("links", block), names=names, targets=targets)


def _crossings(job: BlockSegmentation, threshold: float, block: Block) -> None:
    window = block.window(ONE)
    numbers, affinity = read_part(job.folder / "numbers", window), job.affinities(window)
    names, targets = crossings(numbers, affinity, block, job.watershed.offsets, threshold)
    save_table(job.table("links", block), names=names, targets=targets)


def _contacts(job: BlockSegmentation, block: Block) -> None:
    window = block.window(job.reach)
    labels = job.numbering().apply(read_part(job.folder / "numbers", window))
    offsets = job.watershed.offsets
    near, far = contacts(labels, job.affinities(window), offsets, block.inside(job.reach))
    columns = {
        f"{kind}_{name}": getattr(part, name)
        for kind, part in (("near", near), ("far", far))
        for name in ("pairs", "count", "total")
    }
    save_table(job.table("contacts", block), **columns)


def _overlaps(job: BlockSegmentation, truth: Truth, block: Block) -> None:
    labels = job.numbering().apply(read_part(job.folder / "numbers", block.core))
    if job.bare:
        labels[_boundary(job, block)] = 0
    table = overlap_table(labels, truth(block.core))
    columns = {name: getattr(table, name) for name in ("segment", "truth", "voxels")}
    save_table(job.table("overlaps", block), **columns)


def _write(job: BlockSegmentation, block: Block) -> None:
    (lookup,) = load_table(job.folder / "lookup.npz", "lookup")
    labels = job.numbering().apply(read_part(job.folder / "numbers", block.core))
    segment = lookup[labels]
    if job.bare:
        segment[_boundary(job, block)] = 0
    job.store.write(block.core, segment)


def _shrink(job: BlockSegmentation, scale: int, step: Triple, block: Block) -> None:
    job.store.shrink(scale, step, block.core)


def _boundary(job: BlockSegmentation, block: Block) -> np.ndarray:
    return job.watershed.boundary(job.affinities(block.window(ONE)))[block.inside(ONE)]
