"""Tissue classes of the MNI152 brain: train on its back, validate on its front.

Classes as in PmSCn Sec 4.2: background, CSF, grey and white matter.
"""

from dataclasses import replace

from lean3d.recipes.registry import register_recipe
from lean3d.recipes.segmentation import SegmentationRecipe

__all__ = ["brain2d", "brain3d", "brain_acs"]


@register_recipe
def brain3d() -> SegmentationRecipe:
    """A small 3D UNet on crops of the brain at 2 mm."""
    return SegmentationRecipe(
        name="brain3d",
        data="mni152",
        num_classes=4,
        class_names=("background", "CSF", "grey", "white"),
        spacing_mm=2,
        patch=(32, 32, 32),
        train_samples=64,
        val_samples=16,
        model="unet3d",
        conv="conv3d",
        widths=(16, 32, 64),
        options=("skip=full",),
        epochs=20,
        channels_last=True,
    )


@register_recipe
def brain2d() -> SegmentationRecipe:
    """A small 2D UNet on slices of the brain at 2 mm, across all three axes."""
    return replace(
        brain3d(),
        name="brain2d",
        model="unet2d",
        conv=None,
        patch=(64, 64),
        train_samples=512,
        val_samples=128,
        batch_size=16,
    )


@register_recipe
def brain_acs() -> SegmentationRecipe:
    """The 2D UNet of brain2d, converted to 3D with ACS and trained on."""
    return replace(
        brain3d(),
        name="brain_acs",
        model="unet2d",
        conv=None,
        convert="acs",
        start_from="runs/brain2d",
    )
