"""Targets of a network that separates instances: affinities, foreground and boundaries.

The affinity of a voxel along an offset is 1 if the voxel and its neighbour at that offset are of
one instance, else 0 (Turaga et al., Neural Computation 22, 2010). Nearest neighbours drive a
watershed, as in Funke et al., arXiv:1709.02974; long-range ones repel in a mutex watershed (Wolf
et al., arXiv:1904.12654).

An offset is written as axes with distances: "z1" is the voxel one section before, "y9" the one nine
rows before, "z1x3" both at once. They point backwards, as waterz expects them.

Axes: K channels, D depth (z), H height (y), W width (x).
"""

import re
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from lean3d.errors import DataError, ShapeError
from lean3d.optional import require
from lean3d.processes import pooled
from lean3d.shape import Triple

__all__ = [
    "affinity_targets",
    "balanced_weights",
    "instances_of_membranes",
    "read_channels",
    "shrink_labels",
]

AXES = "zyx"
WORD = re.compile(r"(?:[zyx][1-9]\d{0,3})+")
# channels of a voxel by itself, not of a pair
SINGLE = ("foreground", "boundary")
# share of a class that is still balanced in full; a rarer one gets no more weight
RAREST = 0.05

Channel = Triple | str


def read_channels(words: Sequence[str]) -> tuple[Channel, ...]:
    """Parse names of channels: offsets such as "z1", "y9", "z1x3", or foreground or boundary.

    Returns:
        An offset (z, y, x) of whole numbers of 0 or less, or the word itself.

    Raises:
        DataError: a word is not a channel, or is there twice.
    """
    channels = tuple(_read(word) for word in words)
    if not channels or len(set(channels)) != len(channels):
        raise DataError(f"channels are different names such as z1 y1 x1, got {' '.join(words)!r}")
    return channels


def _read(word: str) -> Channel:
    if word in SINGLE:
        return word
    steps = re.findall(r"([zyx])(\d+)", word)
    if not WORD.fullmatch(word) or len({axis for axis, _ in steps}) != len(steps):
        raise DataError(
            f"a channel is an offset such as z1, y9 or z1x3, or {' or '.join(SINGLE)}; got {word!r}"
        )
    given = {axis: -int(distance) for axis, distance in steps}
    return tuple(given.get(axis, 0) for axis in AXES)  # type: ignore[return-value]


def affinity_targets(
    label: Tensor, channels: Sequence[Channel], *, dims: Literal[2, 3] = 3
) -> tuple[Tensor, Tensor]:
    """Return the target of every channel, and the mask of voxels that have one.

    Two voxels of background (label 0) are not of one instance. Voxels with a negative label are
    unlabelled: pairs that hold one are masked, as pairs are that reach outside the volume.
    Foreground is every voxel of an instance without a face to another instance, boundary the rest.

    Args:
        channels: What `read_channels` returns; offsets are negative or positive.
        dims: 3 for volumes, 2 for images, which have no offsets along z.

    Shape: (..., D, H, W), or (..., H, W), whole numbers -> (..., K, D, H, W), or (..., K, H, W),
        float32 and bool; leading axes are batches.

    Raises:
        ShapeError: too few axes, or an offset along z of images.
    """
    if label.ndim < dims or (dims == 2 and any(c[0] for c in channels if not isinstance(c, str))):
        raise ShapeError(
            f"affinity_targets takes labels (..., D, H, W), or (..., H, W) with dims=2 and offsets "
            f"without z; got {tuple(label.shape)}, dims={dims} and {list(channels)}"
        )
    known = label >= 0
    targets, masks = [], []
    for channel in channels:
        if isinstance(channel, str):
            # membranes that are labelled are thick enough
            inside = (label > 0) & ~_faces(label, dims, least=1)
            target, mask = (inside if channel == "foreground" else ~inside), known
        else:
            target, mask = _pair(label, known, channel[-dims:])
        targets.append(target & mask)
        masks.append(mask)
    return torch.stack(targets, -dims - 1).float(), torch.stack(masks, -dims - 1)


def _pair(label: Tensor, known: Tensor, offset: Sequence[int]) -> tuple[Tensor, Tensor]:
    here, there = _overlap(label.shape[-len(offset) :], offset)
    same = torch.zeros_like(known)
    mask = torch.zeros_like(known)
    if all(s.stop > s.start for s in here):
        at: Any = (..., *here)
        to: Any = (..., *there)
        same[at] = (label[at] == label[to]) & (label[at] > 0)
        mask[at] = known[at] & known[to]
    return same, mask


def _overlap(sizes: Sequence[int], offset: Sequence[int]) -> tuple[list[slice], list[slice]]:
    """Return the voxels whose neighbour is inside, and those neighbours."""
    here = [slice(max(0, -o), max(0, min(n, n - o))) for n, o in zip(sizes, offset, strict=True)]
    there = [slice(s.start + o, s.stop + o) for s, o in zip(here, offset, strict=True)]
    return here, there


def _faces(label: Tensor, dims: int, least: int) -> Tensor:
    """Mark voxels with a face between different labels, both of at least `least`."""
    edge = torch.zeros_like(label, dtype=torch.bool)
    for axis in range(-dims, 0):
        size = label.shape[axis] - 1
        front, back = label.narrow(axis, 1, size), label.narrow(axis, 0, size)
        change = (front != back) & (front >= least) & (back >= least)
        edge.narrow(axis, 1, size).logical_or_(change)
        edge.narrow(axis, 0, size).logical_or_(change)
    return edge


def shrink_labels(label: Tensor, steps: int, *, sections: bool = True) -> Tensor:
    """Set voxels within `steps` of another label to background, so that boundaries are thicker.

    Args:
        sections: Count along H and W only, as for thick sections; along all axes otherwise.

    Shape: (..., D, H, W) or (H, W) -> the same.

    Raises:
        DataError: `steps` is below 0.
    """
    if steps < 0:
        raise DataError(f"shrink_labels takes 0 steps or more, got {steps}")
    dims = 2 if sections or label.ndim == 2 else 3
    for _ in range(steps):
        # beside unlabelled voxels nothing shrinks
        label = torch.where(_faces(label, dims, least=0) & (label > 0), 0, label)
    return label


def balanced_weights(target: Tensor, mask: Tensor) -> Tensor:
    """Return weights that give both classes of each channel the same sum, 0 outside the mask.

    A class rarer than 5 % gets the weight of one of 5 %; the mean weight of known voxels is 1 where
    no class is that rare.

    Shape: (B, K, ...) and (B, K, ...) -> (B, K, ...) float32.
    """
    axes = [0, *range(2, target.ndim)]
    count = pooled(mask.sum(axes, keepdim=True)).clamp(min=1)
    share = (pooled((target * mask).sum(axes, keepdim=True)) / count).clamp(RAREST, 1 - RAREST)
    return mask * torch.where(target > 0.5, 0.5 / share, 0.5 / (1 - share))


def instances_of_membranes(inside: Tensor) -> Tensor:
    """Label the cells of every section: connected pixels (by edges) that are not membrane.

    Membrane labels, such as those of the ISBI 2012 challenge, say nothing of which cells of
    consecutive sections are one; numbers differ in all sections.

    Shape: (D, H, W), nonzero inside cells -> (D, H, W) int64, 0 on membranes.

    Raises:
        ShapeError: `inside` is not (D, H, W).
    """
    if inside.ndim != 3:
        raise ShapeError(f"instances_of_membranes takes (D, H, W), got {tuple(inside.shape)}")
    ndimage = require("scipy.ndimage", extra="volume")
    sections, first = [], 0
    for section in (inside != 0).numpy():
        label, count = ndimage.label(section)
        sections.append(torch.from_numpy(label).long())
        sections[-1][sections[-1] > 0] += first
        first += count
    return torch.stack(sections)
