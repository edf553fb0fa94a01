"""Predict a volume as its recipe was trained: in crops, or slice by slice."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lean3d.data import Masks, Volume
from lean3d.data.folder import ImagePath
from lean3d.data.mask import on_grid_of
from lean3d.infer import predict_slices, predict_volume
from lean3d.recipes.intensity import check_channels
from lean3d.recipes.segmentation import SegmentationRecipe
from lean3d.shape import triple

__all__ = ["mask_on_grid", "predict", "predict_image", "to_mask"]


def predict(
    model: nn.Module,
    recipe: SegmentationRecipe,
    volume: Volume,
    *,
    overlap: float | None = None,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    mirror: Sequence[int] = (),
) -> Tensor:
    """Probabilities (K, D, H, W) of the classes, or regions, of a normalised volume, on the CPU.

    Args:
        overlap: Overlapping share of consecutive windows; the recipe's by default.
        batch_size: Windows at a time; the recipe's by default.
        mirror: Axes of the volume along which windows, or slices, are mirrored as well.
    """
    check_channels(recipe, volume.name, len(volume.image))
    settings: dict[str, Any] = dict(overlap=overlap, batch_size=batch_size, device=device)
    return predict_image(model, recipe, volume.image, mirror=mirror, **settings)


def predict_image(
    model: nn.Module,
    recipe: SegmentationRecipe,
    image_CDHW: Tensor,
    *,
    overlap: float | None = None,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    mirror: Sequence[int] = (),
) -> Tensor:
    """As `predict`, of the image alone."""
    batch_size = recipe.batch_size if batch_size is None else batch_size
    overlap = recipe.overlap if overlap is None else overlap
    settings: dict[str, Any] = dict(overlap=overlap, batch_size=batch_size, device=device)
    settings |= dict(activation=recipe.activation, mirror=mirror)
    if len(recipe.patch) == 2:
        height, width = recipe.patch
        window = (height, width)
        # a single image is cut across its thin axis alone
        thin = [axis for axis, side in enumerate(image_CDHW.shape[1:]) if side == 1]
        axes = thin[:1] or recipe.axes
        return predict_slices(model, image_CDHW, window, axes=axes, **settings)
    window_dhw = triple(recipe.window or recipe.patch, "window")
    return predict_volume(model, image_CDHW, window_dhw, **settings)


def mask_on_grid(
    recipe: SegmentationRecipe,
    probabilities: Tensor,
    volume: Volume,
    like: str | ImagePath,
    tidy: Callable[[np.ndarray], np.ndarray] = lambda mask: mask,
) -> np.ndarray:
    """Return the mask of probabilities on the grid of `like`, (D, H, W) uint8, as labels have it.

    Args:
        volume: The volume that was predicted, of which the grid is used.
        tidy: Called with each mask: of all classes, or of each of several masks.
    """
    regions = recipe.read_regions
    if not isinstance(regions, Masks):
        found = probabilities if regions is None else regions.mask(probabilities)
        return tidy(on_grid_of(found, volume, like))
    total: np.ndarray | None = None
    for bit, share_DHW in enumerate(probabilities):
        own = tidy(on_grid_of((share_DHW > 0.5).to(torch.uint8), volume, like)) << bit
        total = own if total is None else total | own
    assert total is not None
    return total


def to_mask(recipe: SegmentationRecipe, probabilities: Tensor) -> Tensor:
    """Return class numbers (D, H, W), of masks the numbers of a label (lean3d.data.masks)."""
    regions = recipe.read_regions
    return probabilities.argmax(0) if regions is None else regions.mask(probabilities)
