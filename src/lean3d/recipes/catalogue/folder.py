"""Your own data."""

from dataclasses import replace

from lean3d.recipes.registry import register_recipe
from lean3d.recipes.segmentation import SegmentationRecipe

__all__ = ["folder", "from_slices", "slices"]


@register_recipe
def folder() -> SegmentationRecipe:
    """A 3D UNet with ACS convolutions on your images and labels: give --data."""
    return SegmentationRecipe(
        name="folder",
        data="",
        num_classes=0,
        in_channels=0,
        train_samples=200,
        val_samples=50,
        validate="cases",
        model="unet3d",
        conv="acs",
        keep_depth="auto",
        widths=(32, 64, 128, 256),
        options=("skip=full",),
        flips=(),
        # nnU-Net: a third of the crops
        oversample=0.33,
        epochs=50,
        batch_size=2,
    )


@register_recipe
def slices() -> SegmentationRecipe:
    """A 2D UNet on axial slices of your images and labels: give --data."""
    return replace(
        folder(),
        name="slices",
        model="unet2d",
        conv=None,
        keep_depth=0,
        patch=(96, 96),
        axes=(0,),
        train_samples=1000,
        batch_size=16,
    )


@register_recipe
def from_slices() -> SegmentationRecipe:
    """The 2D UNet of slices, converted to 3D with ACS and trained on: give the same --data."""
    return replace(
        folder(),
        name="from_slices",
        model="unet2d",
        conv=None,
        convert="acs",
        start_from="runs/slices",
    )
