"""How far a network looks: the voxels around an output that it depends on.

Not-a-number spreads to every output that depends on it, through convolutions, pools, norms and
resizing alike, whatever the weights are.

Axes: C channels, then D H W for volumes or H W for images.
"""

from contextlib import suppress

import torch
from torch import Tensor, nn

from lean3d.errors import RunError
from lean3d.infer.sliding import evaluating

__all__ = ["network_reach"]

# largest step of a grid that is found, and the largest length that is tried
PERIOD, LONGEST = 16, 512
# sizes of the other axes, from small to large: deep networks need more
ACROSS = (16, 32, 64)


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
    starts = range(length // 2, length // 2 + PERIOD)
    distances: list[tuple[int, int]] = []
    for start in starts:
        after, before = (torch.zeros(1, in_channels, *sides, device=device) for _ in range(2))
        after.narrow(2 + axis, start, length - start).fill_(torch.nan)
        before.narrow(2 + axis, 0, start).fill_(torch.nan)
        known = [_known(model(x), axis) for x in (after, before)]
        if not all(k.any() for k in known):
            return None
        last, first = int(known[0].nonzero().max()), int(known[1].nonzero().min())
        distances.append((start - 1 - last, first - start))
    reach = max(max(pair) for pair in distances)
    steps = [p for p in (1, 2, 4, 8, PERIOD) if distances[p:] == distances[:-p] or p == PERIOD]
    return reach, steps[0]


def _known(output: Tensor, axis: int) -> Tensor:
    """Return the positions along an axis whose outputs depend on nothing unknown."""
    return ~output.isnan().movedim(2 + axis, 0).flatten(1).any(1)
