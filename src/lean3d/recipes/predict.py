"""Predict a volume as its recipe was trained: in crops, or slice by slice."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.data import Volume
from lean3d.errors import RunError
from lean3d.infer import predict_slices, predict_volume
from lean3d.recipes.segmentation import SegmentationRecipe
from lean3d.shape import triple

__all__ = ["predict", "predict_image", "to_mask"]


def predict(
    model: nn.Module,
    recipe: SegmentationRecipe,
    volume: Volume,
    *,
    overlap: float = 0.5,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    mirror: Sequence[int] = (),
) -> Tensor:
    """Probabilities (K, D, H, W) of the classes, or regions, of a normalised volume, on the CPU.

    Args:
        batch_size: Windows at a time; the recipe's by default.
        mirror: Axes of the volume along which windows, or slices, are mirrored as well.
    """
    found = volume.image.shape[0]
    if found != recipe.in_channels:
        raise RunError(
            f"{volume.name} has {found} channels and the run was trained on {recipe.in_channels}; "
            "give the images of all channels in order"
        )
    settings: dict[str, Any] = dict(overlap=overlap, batch_size=batch_size, device=device)
    return predict_image(model, recipe, volume.image, mirror=mirror, **settings)


def predict_image(
    model: nn.Module,
    recipe: SegmentationRecipe,
    image_CDHW: Tensor,
    *,
    overlap: float = 0.5,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    mirror: Sequence[int] = (),
) -> Tensor:
    """As `predict`, of the image alone."""
    batch_size = recipe.batch_size if batch_size is None else batch_size
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


def to_mask(recipe: SegmentationRecipe, probabilities: Tensor) -> Tensor:
    """Return what `save_mask` takes: probabilities of classes, or the classes of regions."""
    regions = recipe.read_regions
    return probabilities if regions is None else regions.mask(probabilities)
