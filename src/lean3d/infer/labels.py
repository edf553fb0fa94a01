"""Predict the classes of a large volume without holding the probabilities of all of it.

Windows overlap and are blended as in `predict_volume`. They are taken plane by plane along depth;
as soon as no window to come reaches a voxel, its class is chosen and its probabilities are dropped.
Where the planes of all classes are too large for the memory given, they are cut into parts, and
the windows on the border of two parts are computed for each.

Axes: C channels, K classes, D depth, H height, W width; d, h, w those of a window.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.errors import RunError, ShapeError
from lean3d.infer.sliding import check_mirror, evaluating, mirrored, mirrored_axes
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
        for place, part in enumerate(parts):
            _column(work, label_DHW, starts, part, classes)
            if progress is not None:
                progress((place + 1) / len(parts))
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
    return model(windows).float().softmax(1)


def _column(
    work: _Work,
    label_DHW: Tensor,
    starts: Sequence[Sequence[int]],
    part: tuple[int, int, int, int],
    classes: int,
) -> None:
    """Fill the classes of all depths at heights and widths part[0]:part[1], part[2]:part[3]."""
    top, bottom, left, right = part
    sides, window = label_DHW.shape, work.window
    inside = [
        [s for s in starts[axis] if s < high and s + window[axis] > low]
        for axis, low, high in ((1, top, bottom), (2, left, right))
    ]
    places = [(h, w) for h in inside[0] for w in inside[1]]
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
            # two steps, as the parts of one tensor overlap
            total[:, : window[0] - done] = total[:, done:].clone()
            total[:, window[0] - done :] = 0


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
    """Cut the (H, W) plane so that a window's depth of each part fits in `room` for all classes."""
    height, width = size[1:]
    rows = columns = 1
    while True:
        sides = math.ceil(height / rows), math.ceil(width / columns)
        if 4 * classes * window[0] * sides[0] * sides[1] <= room or max(sides) == 1:
            break
        # no cut into less than a window, which would compute the same ones again and again
        if sides[0] <= window[1] and sides[1] <= window[2]:
            break
        rows, columns = (rows + 1, columns) if sides[0] >= sides[1] else (rows, columns + 1)
    tall, wide = sides
    return [
        (top, min(top + tall, height), left, min(left + wide, width))
        for top in range(0, height, tall)
        for left in range(0, width, wide)
    ]


def _check(models: Any, images: Any, window: Any, overlap: float, batch_size: int) -> None:
    for image in images:
        check_axes(image, "C D H W", predict_labels)
    if not models or len(images) != len(models) or len({i.shape[1:] for i in images}) > 1:
        raise ShapeError(
            f"predict_labels takes models and one volume, or one for each; got {len(models)} "
            f"models and volumes of {', '.join(str(tuple(i.shape)) for i in images)}"
        )
    if len(window) != 3 or min(window) < 1:
        raise RunError(f"the window must have 3 positive sizes, got {tuple(window)}")
    if not 0 <= overlap < 1:
        raise RunError(f"the overlap is a share from 0 up to, not including, 1; got {overlap}")
    if batch_size < 1:
        raise RunError(f"the batch size must be 1 window or more, got {batch_size}")
