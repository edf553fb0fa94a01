"""Merge fragments by the affinities between them.

Papers: Funke et al., arXiv:1709.02974, Sec 2.3 (agglomeration by the mean and by quantiles of the
affinities, as waterz does); Bailoni et al., GASP, arXiv:1906.11713 (linkages of a signed graph);
Wolf et al., The Mutex Watershed, arXiv:1904.12654

On a graph of fragments, which blocks add up, merging needs no volume. waterz also scores by
quantiles; it reads the affinities of the whole volume.

Axes: K channels, D depth, H height, W width.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from lean3d.errors import RunError, ShapeError
from lean3d.infer.affinities import check_affinities
from lean3d.infer.fragment_graph import FragmentGraph
from lean3d.limits import check_number
from lean3d.optional import require
from lean3d.shape import Triple
from lean3d.typed import check_kind

__all__ = [
    "NO_LONG_RANGE",
    "SCORINGS",
    "agglomerate",
    "agglomerate_graph",
    "check_thresholds",
    "mutex_graph",
]

QUANTILE = "OneMinus<HistogramQuantileAffinity<RegionGraphType,{},ScoreValue,256,{}>>"
# names of waterz's scoring functions; all of them come compiled
SCORINGS = {"mean": "OneMinus<MeanAffinity<RegionGraphType,ScoreValue>>"}
SCORINGS |= {f"quantile{q}": QUANTILE.format(q, "false") for q in (10, 25, 50, 75, 90)}
# the first score of an edge is that of its largest affinity alone
SCORINGS |= {f"max_quantile{q}": QUANTILE.format(q, "true") for q in (10, 25, 50, 75, 90)}
NO_LONG_RANGE = (
    "a mutex watershed needs long-range affinities; train with channels such as z1 y1 x1 z2 y9 x9, "
    "or take the method watershed"
)
LINKAGES = ("mean", "max", "min")


def agglomerate(
    affinity_KDHW: np.ndarray,
    fragment_DHW: np.ndarray,
    thresholds: Sequence[float],
    *,
    offsets: Sequence[Triple] = ((-1, 0, 0), (0, -1, 0), (0, 0, -1)),
    scoring: str = "mean",
) -> Iterator[tuple[float, np.ndarray]]:
    """Merge fragments of a volume in memory with waterz, at all thresholds in one pass.

    Args:
        thresholds: Two fragments are merged while the score of their contact, 1 less its affinity,
            is below the threshold; higher thresholds merge more.
        scoring: Of a contact's affinities the mean, or quantile50 and others of `SCORINGS`.

    Yields:
        Each threshold, ascending, with its segmentation (D, H, W) uint64.

    Shape: affinities (K, D, H, W), float of 0 to 1 or uint8; fragments (D, H, W), 0 is outside.

    Raises:
        RunError: an unknown scoring, or no affinities of nearest neighbours along all axes.
        ShapeError, DataError: these are no affinities, or fragments of another volume.
    """
    if scoring not in SCORINGS:
        raise RunError(f"no scoring called {scoring!r}; there are {', '.join(SCORINGS)}")
    ordered = check_thresholds(thresholds)
    affinity_KDHW = check_affinities(affinity_KDHW, offsets)
    if affinity_KDHW.shape[1:] != fragment_DHW.shape:
        raise ShapeError(
            f"the affinities are of {affinity_KDHW.shape[1:]} voxels and the fragments of "
            f"{fragment_DHW.shape}; give those of one volume"
        )
    try:
        channels = [list(offsets).index(o) for o in ((-1, 0, 0), (0, -1, 0), (0, 0, -1))]
    except ValueError:
        raise RunError(
            f"waterz needs affinities z1, y1 and x1, got offsets {list(offsets)}; merge without "
            "waterz on the graph of fragments"
        ) from None
    waterz = require("waterz", extra="neurons")
    chosen = affinity_KDHW[channels]
    scale = 255 if chosen.dtype == np.uint8 else 1
    with _silent():
        merged = waterz.agglomerate(
            np.ascontiguousarray(chosen, np.float32) / np.float32(scale),
            ordered,
            # it merges in place
            fragments=fragment_DHW.astype(np.uint64),
            scoring_function=SCORINGS[scoring],
        )
    for threshold in ordered:
        with _silent():
            segment = next(merged)
        yield threshold, segment.copy()


def agglomerate_graph(
    graph: FragmentGraph, threshold: float, *, linkage: str = "mean"
) -> np.ndarray:
    """Merge the fragments of a graph; the mean gives what waterz gives.

    Args:
        threshold: As for `agglomerate`.
        linkage: Of the affinities of all contacts between two segments the mean, or the largest or
            smallest of the contacts' means.

    Returns:
        The segment of each fragment, (fragments + 1,) uint64, 0 for fragment 0.
    """
    if linkage not in LINKAGES:
        raise RunError(f"no linkage called {linkage!r}; there are {', '.join(LINKAGES)}")
    (threshold,) = check_thresholds([threshold])
    policies = require("bioimage_cpp.graph.agglomeration", extra="neurons")
    policy = policies.GaspClusterPolicy(num_clusters_stop=1, linkage=linkage)
    weights = graph.touching.mean - (1 - threshold)
    sizes = graph.touching.count.astype(np.float64)
    return _numbered(policy.optimize(_graph(graph), weights, edge_sizes=sizes))


def mutex_graph(graph: FragmentGraph) -> np.ndarray:
    """Merge the fragments of a graph by a mutex watershed: long-range affinities keep them apart.

    Contacts attract by their mean affinity, pairs that long-range affinities join repel by 1 less
    theirs; the strongest decide first, and there is no threshold.

    Returns:
        The segment of each fragment, (fragments + 1,) uint64, 0 for fragment 0.

    Raises:
        RunError: the graph has no long-range affinities.
    """
    if not len(graph.distant.pairs):
        raise RunError(NO_LONG_RANGE)
    mutex = require("bioimage_cpp.graph.mutex_watershed", extra="neurons")
    distant = graph.distant
    labels = mutex.mutex_watershed_clustering(
        _graph(graph), graph.touching.mean, distant.pairs, 1 - distant.mean
    )
    return _numbered(labels)


def _graph(graph: FragmentGraph):
    graphs = require("bioimage_cpp.graph", extra="neurons")
    return graphs.UndirectedGraph.from_unique_edges(graph.fragments + 1, graph.touching.pairs)


def _numbered(labels: np.ndarray) -> np.ndarray:
    """Number segments by their first fragment; node 0, which nothing touches, is 0."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    order = np.empty(len(first), np.uint64)
    order[np.argsort(first)] = np.arange(len(first), dtype=np.uint64)
    return order[inverse]


def check_thresholds(thresholds: Sequence[float]) -> list[float]:
    """Return thresholds in ascending order; each is from 0 to 1."""
    check_kind("agglomeration", thresholds, Iterable, "thresholds such as (0.3, 0.5)")
    values = list(thresholds)
    if not values:
        raise RunError("agglomeration needs a threshold or several, got none")
    for value in values:
        check_kind("a threshold", value, float, "a number")
        check_number("a threshold", value, 0, 1)
    return sorted(float(value) for value in values)


@contextmanager
def _silent() -> Iterator[None]:
    """Discard what C++ prints to stdout."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
