"""Predict the classes of a large volume without holding the probabilities of all of it.

Windows overlap and are blended as in `predict_volume`. They are taken plane by plane along depth;
as soon as no window to come reaches a voxel, its class is chosen and its probabilities are dropped.
Where the planes of all classes are too large for the memory given, they are cut into parts, and
the windows on the border of two parts are computed for each: more memory takes less time.

Axes: C channels, K classes, D depth, H height, W width; d, h, w those of a window.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain, pairwise, product
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lean3d.errors import RunError, ShapeError
from lean3d.infer.sliding import (
    check_mirror,
    check_windows,
    evaluating,
    logits_of,
    mirrored,
    mirrored_axes,
)
from lean3d.optional import require
from lean3d.shape import Triple, check_axes

__all__ = ["ROOM", "predict_labels"]

# bytes of the probabilities that are held at a time
ROOM = 256 << 20


@torch.inference_mode()
def predict_labels(
    models: nn.Module | Sequence[nn.Module],
    images_CDHW: Tensor | Sequence[Tensor],
    window: Triple,
    *,
    overlap: float = 0.5,
    batch_size: int = 1,
    device: torch.device | str | None = None,
    room: int = ROOM,
    progress: Callable[[float], None] | None = None,
    out: Tensor | None = None,
    mirror: Sequence[int] = (),
) -> Tensor:
    """Return the most probable class of every voxel, (D, H, W) uint8, on the CPU.

    Equal to `predict_volume(...).argmax(0)`; memory holds the volume, its classes, one batch of
    windows and `room` bytes, for any number of classes.

    Args:
        models: (B, C, d, h, w) -> logits (B, K, d, h, w); of several the probabilities are added.
        images_CDHW: The volume, or as each model takes it.
        overlap: Overlapping share of consecutive windows.
        device: Device of the computation; that of the first model by default.
        room: Bytes for the probabilities that are not final.
        progress: Called with the share that is done.
        out: Where to write the classes, (D, H, W) uint8.
        mirror: As `predict_volume` takes it.

    Raises:
        RunError: the window, overlap or batch size cannot be.
    """
    models = [models] if isinstance(models, nn.Module) else list(models)
    images = [images_CDHW] if isinstance(images_CDHW, Tensor) else list(images_CDHW)
    images = images * len(models) if len(images) == 1 else images
    _check(models, images, window, overlap, batch_size)
    device = torch.device(device or next((p.device for p in models[0].parameters()), "cpu"))
    size = tuple(images[0].shape[1:])
    starts = [_starts(side, length, overlap) for side, length in zip(size, window, strict=True)]
    check_mirror(mirror)
    work = _Work(models, images, window, batch_size, device, mirror)
    with ExitStack() as stack:
        for model in models:
            stack.enter_context(evaluating(model.to(device)))
        classes = work.classes()
        if classes > 256:
            raise RunError(f"predict_labels stores a class in a byte, got {classes} classes")
        label_DHW = torch.zeros(size, dtype=torch.uint8) if out is None else out
        parts = _parts(size, window, starts, classes, room)
        planes = len(parts) * len(starts[0])
        columns = (_column(work, label_DHW, starts, part, classes) for part in parts)
        for number, _ in enumerate(chain.from_iterable(columns), 1):
            if progress is not None:
                progress(number / planes)
    return label_DHW


class _Work:
    """Runs batches of windows through all models."""

    def __init__(
        self,
        models: Any,
        images: Any,
        window: Triple,
        batch_size: int,
        device: torch.device,
        mirror: Sequence[int],
    ):
        self.models, self.images, self.window = models, images, window
        self.batch_size, self.device, self.flips = batch_size, device, mirrored_axes(mirror)
        weigh = require("monai.data.utils", extra="volume").compute_importance_map
        weight = weigh(window, mode="gaussian", sigma_scale=0.125)
        # as MONAI's sliding window does
        self.weight_dhw = weight.clamp_(min=max(weight.min().item(), 1e-3))

    def classes(self) -> int:
        return self((0, 0, 0), [(0, 0)])[0].shape[0]

    def __call__(self, corner: Triple, places: Sequence[tuple[int, int]]) -> list[Tensor]:
        """Weighted probabilities (K, d, h, w) at depth corner[0] and some (height, width)."""
        total: Tensor | None = None
        for model, image_CDHW in zip(self.models, self.images, strict=True):
            crops = [self._crop(image_CDHW, (corner[0], *place)) for place in places]
            windows = torch.stack(crops).to(self.device)
            scores = mirrored(partial(_probabilities, model), windows, self.flips).cpu()
            total = scores if total is None else total.add_(scores)
        assert total is not None
        return list(total.mul_(self.weight_dhw))

    def _crop(self, image_CDHW: Tensor, corner: Sequence[int]) -> Tensor:
        """A window; one that is larger than the volume is padded with its edge on both sides."""
        for axis, (start, length) in enumerate(zip(corner, self.window, strict=True), 1):
            side = image_CDHW.shape[axis]
            if length <= side:
                image_CDHW = image_CDHW.narrow(axis, start, length)
            else:
                before = (length - side) // 2
                index = torch.arange(-before, length - before).clamp_(0, side - 1)
                image_CDHW = image_CDHW.index_select(axis, index)
        return image_CDHW


def _probabilities(model: nn.Module, windows: Tensor) -> Tensor:
    return logits_of(model, windows).softmax(1)


def _column(
    work: _Work,
    label_DHW: Tensor,
    starts: Sequence[Sequence[int]],
    part: tuple[int, int, int, int],
    classes: int,
) -> Iterator[None]:
    """Fill the classes of all depths at heights and widths part[0]:part[1], part[2]:part[3].

    Yields after each plane of windows.
    """
    top, bottom, left, right = part
    sides, window = label_DHW.shape, work.window
    rows = _inside(starts[1], window[1], top, bottom)
    columns = _inside(starts[2], window[2], left, right)
    places = list(product(rows, columns))
    total = torch.zeros(classes, window[0], bottom - top, right - left)
    # what a window that is larger than the volume has in front of it
    before = [max(0, length - side) // 2 for length, side in zip(window, sides, strict=True)]
    for number, start in enumerate(starts[0]):
        for first in range(0, len(places), work.batch_size):
            batch = places[first : first + work.batch_size]
            for (h, w), scores in zip(batch, work((start, 0, 0), batch), strict=True):
                _add(total, scores, (h - before[1], w - before[2]), (top, bottom, left, right))
        last = number + 1 == len(starts[0])
        done = min(window[0], sides[0]) if last else starts[0][number + 1] - start
        final = total[:, before[0] : before[0] + done] if last else total[:, :done]
        label_DHW[start : start + done, top:bottom, left:right] = final.argmax(0)
        if not last:
            for sums in total:
                # a copy, as the parts of one tensor overlap
                sums[: window[0] - done] = sums[done:].clone()
                sums[window[0] - done :] = 0
        yield


def _add(
    total: Tensor, scores: Tensor, corner: tuple[int, int], part: tuple[int, int, int, int]
) -> None:
    """Add the probabilities of a window to the part of the plane that it overlaps."""
    top, bottom, left, right = part
    h, w = corner
    low_h, high_h = max(h, top), min(h + scores.shape[2], bottom)
    low_w, high_w = max(w, left), min(w + scores.shape[3], right)
    total[:, :, low_h - top : high_h - top, low_w - left : high_w - left] += scores[
        :, :, low_h - h : high_h - h, low_w - w : high_w - w
    ]


def _starts(side: int, length: int, overlap: float) -> list[int]:
    """Where windows start along an axis; the last one ends with the volume."""
    if length >= side:
        return [0]
    step = max(1, int(length * (1 - overlap)))
    return [*range(0, side - length, step), side - length]


def _parts(
    size: Sequence[int], window: Triple, starts: Any, classes: int, room: int
) -> list[tuple[int, int, int, int]]:
    """Cut the (H, W) plane so that a window's depth of each part fits in `room` for all classes.

    Cuts are where windows start, and those that compute the fewest windows twice. No part is much
    smaller than a window, which would compute the same ones again and again.
    """
    most = room / (4 * classes * window[0])
    rows, columns = (_cuts(starts[axis], window[axis], size[axis]) for axis in (1, 2))

    def cost(cuts: tuple[_Cuts, _Cuts]) -> tuple[float, int, int]:
        area = cuts[0].longest * cuts[1].longest
        return max(area, most), cuts[0].windows * cuts[1].windows, -area

    tall, wide = min(product(rows, columns), key=cost)
    return [(*row, *column) for row, column in product(tall.pieces, wide.pieces)]


class _Cuts(NamedTuple):
    """Pieces of an axis, the longest of them, and the windows of all together."""

    pieces: list[tuple[int, int]]
    longest: int
    windows: int


def _cuts(starts: Sequence[int], length: int, side: int) -> list[_Cuts]:
    """Return the ways to cut an axis where windows start, in equal pieces."""
    least = 1 if len(starts) == 1 else math.ceil(length / (starts[1] - starts[0]))
    ways = []
    for every in range(min(least, len(starts)), len(starts) + 1):
        pieces = list(pairwise([*starts[::every], side]))
        windows = sum(len(_inside(starts, length, *piece)) for piece in pieces)
        ways.append(_Cuts(pieces, max(high - low for low, high in pieces), windows))
    return ways


def _inside(starts: Sequence[int], length: int, low: int, high: int) -> list[int]:
    """Return the starts of the windows that overlap low .. high."""
    return [start for start in starts if start < high and start + length > low]


def _check(models: Any, images: Any, window: Any, overlap: float, batch_size: int) -> None:
    for image in images:
        check_axes(image, "C D H W", predict_labels)
    if not models or len(images) != len(models) or len({i.shape[1:] for i in images}) > 1:
        raise ShapeError(
            f"predict_labels takes models and one volume, or one for each; got {len(models)} "
            f"models and volumes of {', '.join(str(tuple(i.shape)) for i in images)}"
        )
    check_windows(window, 3, overlap, batch_size)
