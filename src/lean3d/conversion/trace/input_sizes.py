"""Images on which a 2D model runs: small, of unequal sides, and large enough for the checks.

An image is too small if some feature map is one voxel across only because of it: a forward that
ignores an axis goes unnoticed where that axis has one voxel.

Axes: B batch, C channels, D depth, H height, W width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from lean3d.conversion.trace.first_mismatch import why_it_stops
from lean3d.conversion.trace.inputs_2d import Maker, is_image, makers
from lean3d.conversion.trace.trial_run import run_lightly
from lean3d.errors import ConversionError
from lean3d.tracer import Args, Kwargs, Watch

__all__ = ["Sample", "find_sample"]

LENGTHS = [5, 7, 8, 11, 13, 16, 19, 24, 31, 37, 40, 45, 56, 67, 72, 80, 101, 112, 144, 173]
LENGTHS += [208]
MULTIPLES = [32, 64, 96, 128, 160, 192, 256, 288]  # what networks with skips require

Size = tuple[int, int]


@dataclass(frozen=True)
class Sample:
    """Arguments for the 2D model, and how to make volumes of them.

    Args:
        make: Arguments for an image size.
        length: Size of the axis along which a volume repeats its images.
        depth: Another length, at which no feature map is one voxel deep by accident.
    """

    make: Maker
    size: Size
    length: int
    depth: int

    @cached_property
    def arguments(self) -> tuple[Any, ...]:
        return self.make(self.size)

    @property
    def on_meta(self) -> "Sample":
        """Return the same without values, so that volumes take no memory."""

        def make(size: Size) -> tuple[Any, ...]:
            made = self.make(size)
            return tuple(x.to("meta") if isinstance(x, Tensor) else x for x in made)

        return replace(self, make=make)

    def volume(self, axis: int, length: int | None = None) -> tuple[Any, ...]:
        """Return the arguments with every image repeated along a new axis 2 (D) or 3 (H)."""
        # images of another size than the first get a proportional length
        sizes = self.make((length or self.length, self.size[1]))

        def repeat(x: object, like: Any) -> Any:
            if not is_image(x):
                return x
            return x.unsqueeze(axis).repeat_interleave(like.shape[2], dim=axis)

        return tuple(repeat(x, like) for x, like in zip(self.arguments, sizes, strict=True))

    def unused_length(self, *lengths: int) -> int:
        """Return the first of some lengths that no side of the image has."""
        return next(length for length in lengths if length not in self.size)

    def shape(self, axis: int, length: int) -> tuple[int, int, int]:
        """Return (D, H, W) of such a volume."""
        height, width = self.size
        return (length, height, width) if axis == 2 else (height, length, width)


def find_sample(
    model: nn.Module,
    meta: nn.Module | None = None,
    example: object = None,
    before: Sequence[Size] = (),
) -> Sample:
    """Return the first sample that runs.

    Args:
        model: The 2D model in eval mode, in the precision of the checks.
        meta: A copy of it on the meta device, which tries sizes at no cost.
        before: Sizes to try before all others.

    Raises:
        ConversionError: none does.
    """
    why, runner = "", model if meta is None else meta
    for make, sizes in makers(model, example):
        trial = _Trial(runner, make)
        size = trial.choose([*before, *sizes])
        if size is not None and (meta is None or _Trial(model, make).maps(size) is not None):
            depth = trial.length(size, meaningful=True)
            length = depth if meta is None else trial.length(size, meaningful=False)
            return Sample(make, size, length, depth)
        stopped = (runner, make(sizes[-1])) if size is None else (model, make(size))
        why = why or why_it_stops(*stopped)  # of the most likely channels
    raise ConversionError(
        f"{type(model).__name__}: no image was found on which the 2D model runs, so its conversion "
        f"cannot be checked; pass example=, an input (B, C, H, W) it accepts ({why})"
    )


class _Sides(Watch):
    def __init__(self, model: nn.Module):
        super().__init__(model)
        self.sides: list[int] = []

    def left(self, path: str, args: Args, kwargs: Kwargs, output: object) -> None:
        self.sides += [side for x in (*args, output) if is_image(x) for side in x.shape[2:]]


@dataclass
class _Trial:
    """Runs of one model at several image sizes."""

    model: nn.Module
    make: Maker
    seen: dict[Size, list[int] | None] = field(default_factory=dict)

    def maps(self, size: Size) -> list[int] | None:
        """Return the sides of all inputs and outputs of modules; None if the model fails."""
        if size not in self.seen:
            try:
                self.seen[size] = self._run(size)
            except Exception:  # a user's forward may raise anything; the size is skipped
                self.seen[size] = None
        return self.seen[size]

    def _run(self, size: Size) -> list[int] | None:
        watch = _Sides(self.model)
        watch.see(lambda: run_lightly(self.model, self.make(size)))
        # without values torch 2.6 runs kernels that are larger than their map
        return watch.sides if min(watch.sides, default=1) > 0 else None

    def too_small(self, size: Size) -> bool:
        """Whether a map one voxel across grows with the image."""
        # three times the size, because 58 too ends as one voxel where every halving rounds down
        small, large = self.maps(size), self.maps((3 * size[0], 3 * size[1]))
        if not small or not large:
            return False
        return any(a == 1 < b for a, b in zip(small, large, strict=False))

    def choose(self, sizes: list[Size]) -> Size | None:
        running = (size for size in sizes if self.maps(size) is not None)
        first = next(running, None)
        if first is None or not self.too_small(first):
            return first
        return next((size for size in running if not self.too_small(size)), first)

    def length(self, size: Size, *, meaningful: bool) -> int:
        """Return a height the 2D model accepts, other than that of `size`; else its own.

        Args:
            meaningful: None if the model is too small there; likely near its own height.
        """
        nearest = sorted(LENGTHS, key=lambda length: abs(length - size[0]))
        for length in [*(nearest if meaningful else LENGTHS), *MULTIPLES]:
            tall = (length, size[1])
            if length in size or self.maps(tall) is None:
                continue
            if not meaningful or not self.too_small(tall):
                return length
        return size[0]
