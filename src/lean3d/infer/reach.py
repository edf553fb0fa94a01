"""How far a network looks: the voxels around an output that it depends on.

Not-a-number spreads to every output that depends on it, through convolutions, pools, norms and
resizing alike, whatever the weights are.

Axes: C channels, then D H W for volumes or H W for images.
"""

from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor, nn

from lean3d.errors import RunError
from lean3d.infer.sliding import evaluating

__all__ = ["network_reach"]

# steps of a grid that are looked for: small ones together, then pools of 2 and of 3, then others
SMALL = 8
LARGE = 16, 9, 27, 32, 64, *(step for step in range(9, 32) if step not in (16, 9, 27))
# the largest length that is tried
LONGEST = 512
# sizes of the other axes, from small to large: deep networks need more
ACROSS = (4, 16, 32, 64)


@torch.inference_mode()
def network_reach(
    model: nn.Module, in_channels: int, dims: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return for each axis how far an output looks to either side, and the step of its grid.

    A window whose first voxel is a multiple of the step from that of the volume gives the outputs
    of the whole volume, but for as many voxels at its inner edges as the network looks.

    Args:
        model: (B, C, ...) -> (B, K, ...) of the same sizes; used in eval mode.

    Raises:
        RunError: an output depends on the whole input, through a mean over it or a norm.
    """
    with evaluating(model):
        found = [_along(model, in_channels, dims, axis) for axis in range(dims)]
    reach, step = zip(*found, strict=True)
    return reach, step


def _along(model: nn.Module, in_channels: int, dims: int, axis: int) -> tuple[int, int]:
    length = 64
    while length <= LONGEST:
        for across in ACROSS:
            with suppress(RuntimeError, ValueError):
                if (found := _tried(model, in_channels, dims, axis, length, across)) is not None:
                    return found
                break
        length *= 2
    raise RunError(
        f"every output of {type(model).__name__} depends on the whole input (by a mean over it, or "
        "a norm of each window); say how many voxels around a tile count: --context 16 32 32"
    )


def _tried(
    model: nn.Module, in_channels: int, dims: int, axis: int, length: int, across: int
) -> tuple[int, int] | None:
    """Return reach and step if the outputs at the far end do not depend on what is unknown."""
    sides = [across] * dims
    sides[axis] = length
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    found: dict[int, tuple[int, int]] = {}

    def distance(place: int) -> tuple[int, int]:
        """Outputs on either side of the middle, moved by `place`, that depend on the other."""
        if place not in found:
            start = length // 2 + place
            if start >= length:
                raise _ShortError
            after, before = (torch.zeros(1, in_channels, *sides, device=device) for _ in range(2))
            after.narrow(2 + axis, start, length - start).fill_(torch.nan)
            before.narrow(2 + axis, 0, start).fill_(torch.nan)
            known = [_known(model(x), axis) for x in (after, before)]
            if not all(k.any() for k in known):
                raise _ShortError
            last, first = int(known[0].nonzero().max()), int(known[1].nonzero().min())
            found[place] = (start - 1 - last, first - start)
        return found[place]

    try:
        step = _period(distance)
    except _ShortError:
        return None
    return max(max(pair) for pair in found.values()), step


class _ShortError(Exception):
    """A longer input is needed."""


def _period(distance: Callable[[int], tuple[int, int]]) -> int:
    """Return the step after which the distances repeat."""
    first = [distance(place) for place in range(2 * SMALL)]
    for step in range(1, SMALL + 1):
        if first[step:] == first[:-step]:
            return step
    for step in LARGE:
        if all(distance(place) == distance(place + step) for place in range(step)):
            return step
    raise _ShortError


def _known(output: Tensor, axis: int) -> Tensor:
    """Return the positions along an axis whose outputs depend on nothing unknown."""
    return ~output.isnan().movedim(2 + axis, 0).flatten(1).any(1)
