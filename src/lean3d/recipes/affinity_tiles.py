"""The affinities of a window by a run, and the sizes of tiles that suit its network.

Axes: C channels, K channels of affinities, D depth, H height, W width.
"""

from collections.abc import Iterator
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import nn

from lean3d.data import read_channels
from lean3d.errors import RunError
from lean3d.infer import Watershed
from lean3d.infer.grid import blocks_of
from lean3d.infer.reach import network_reach
from lean3d.recipes.affinity import AffinityRecipe
from lean3d.recipes.microscopy import scale_em
from lean3d.runtime import OptimizedAtFirstCall
from lean3d.shape import Triple

__all__ = [
    "fragments_of",
    "least",
    "offsets_of",
    "tiling",
    "volume_affinities",
    "window_affinities",
]

# the largest tile by default
TILE = (32, 128, 128)


def offsets_of(recipe: AffinityRecipe) -> tuple[Triple, ...]:
    """Return the offsets of the channels that are affinities."""
    return tuple(c for c in read_channels(recipe.channels) if not isinstance(c, str))


def fragments_of(recipe: AffinityRecipe, voxel_nm: tuple[float, ...], **more: Any) -> Watershed:
    """Return the watershed that suits a run and the size of the voxels (d h w)."""
    depth, height, width = voxel_nm
    spacing = (depth / width, height / width, 1.0)
    offsets = offsets_of(recipe)
    # without a channel along z nothing says what of two sections is one
    sections = recipe.sections or not any(offset[0] for offset in offsets)
    return Watershed(offsets=offsets, spacing=spacing, sections=sections, **more)


def tiling(
    recipe: AffinityRecipe,
    model: nn.Module,
    shape: Triple,
    tile: Triple | None = None,
    context: Triple | None = None,
) -> tuple[Triple, Triple]:
    """Return the sizes of tiles and of the voxels around them, whole steps of the network's grid.

    Args:
        context: By default as many voxels as the network looks at, so that the affinities do not
            depend on the tiles.
    """
    dims = len(recipe.patch)
    # measured by other inputs than those to be fast for
    plain = model.model if isinstance(model, OptimizedAtFirstCall) else model
    try:
        reach, step = network_reach(plain, recipe.in_channels, dims)
    except RunError:
        if context is None:
            raise
        # pools of networks are of 2, and rarely more than four
        step = (16, 16, 16)[3 - dims :]
    if context is not None:
        reach = context[3 - dims :]
    if dims == 2:
        reach, step = (0, *reach), (1, *step)
    around = [ceil(r / s) * s for r, s in zip(reach, step, strict=True)]
    wanted = tile or least(TILE, shape)
    sides = [
        n if w >= n else max(s, w // s * s) for w, s, n in zip(wanted, step, shape, strict=True)
    ]
    return (sides[0], sides[1], sides[2]), (around[0], around[1], around[2])


@torch.inference_mode()
def window_affinities(
    model: nn.Module,
    recipe: AffinityRecipe,
    raw_CDHW: np.ndarray,
    inside: tuple[slice, slice, slice],
) -> np.ndarray:
    """Predict the affinities of the inside of a window.

    Shape: (C, D, H, W), values as in the file -> (K, d, h, w) uint8 of 0 to 255.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    x_CDHW = scale_em(recipe, torch.from_numpy(np.asarray(raw_CDHW, np.float32)))
    if len(recipe.patch) == 2:
        sections = x_CDHW.movedim(1, 0).to(device)
        logits = torch.cat([model(section[None]) for section in sections]).movedim(0, 1)
    else:
        logits = model(x_CDHW[None].to(device))[0]
    channels = read_channels(recipe.channels)
    kept = [k for k, channel in enumerate(channels) if not isinstance(channel, str)]
    affinity = torch.sigmoid(logits[kept].float())[(slice(None), *inside)]
    return (255 * affinity).round().to(torch.uint8).cpu().numpy()


def volume_affinities(model: nn.Module, recipe: AffinityRecipe, raw_CDHW: np.ndarray) -> np.ndarray:
    """Predict the affinities of a volume in memory, tile by tile.

    Shape: (C, D, H, W), values as in the file -> (K, D, H, W) uint8 of 0 to 255.
    """
    depth, height, width = raw_CDHW.shape[1:]
    tile, context = tiling(recipe, model, (depth, height, width))
    found = np.zeros((len(offsets_of(recipe)), depth, height, width), np.uint8)
    for core, part in _tiles(model, recipe, raw_CDHW, tile, context):
        found[(slice(None), *core)] = part
    return found


def _tiles(model, recipe, raw_CDHW, tile, context) -> Iterator[tuple[Any, np.ndarray]]:
    for block in blocks_of(raw_CDHW.shape[1:], tile):
        raw = raw_CDHW[(slice(None), *block.window(context))]
        yield block.core, window_affinities(model, recipe, raw, block.inside(context))


def least(sizes: Triple, shape: Triple) -> Triple:
    """Return the smaller size along each axis."""
    depth, height, width = (min(a, b) for a, b in zip(sizes, shape, strict=True))
    return depth, height, width
