"""Your own data."""

from lean3d.recipes.registry import register_recipe
from lean3d.recipes.segmentation import SegmentationRecipe

__all__ = ["folder"]


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
        epochs=50,
        batch_size=2,
        # nnU-Net: a third of the crops
        oversample=0.33,
    )
