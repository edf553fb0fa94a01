"""The proof of concept of ACS: pretraining on 2D shapes, transfer to 3D solids.

Paper: Yang et al., Reinventing 2D Convolutions for 3D Images (ACS), arXiv:1911.10477, Appendix B:
Dice loss, Adam with learning rate 0.001, batches of 4, 50 epochs in 3D.
"""

from dataclasses import replace

from lean3d.recipes.registry import register_recipe
from lean3d.recipes.segmentation import SegmentationRecipe

__all__ = ["shapes2d", "shapes3d", "shapes_acs"]


@register_recipe
def shapes3d() -> SegmentationRecipe:
    """The 3D UNet of the ACS proof of concept, on 100 volumes of solids in noise."""
    return SegmentationRecipe(
        name="shapes3d",
        data="shapes3d",
        num_classes=6,
        class_names=("background", "sphere", "cube", "cylinder", "cone", "pyramid"),
        patch=(48, 48, 48),
        train_samples=100,
        val_samples=100,
        model="unet3d",
        conv="conv3d",
        widths=(64, 128),
        loss="dice",
        lr=1e-3,
        epochs=50,
        batch_size=4,
    )


@register_recipe
def shapes2d() -> SegmentationRecipe:
    """The 2D UNet of the ACS proof of concept, on 10,000 images of circles and squares."""
    return replace(
        shapes3d(),
        name="shapes2d",
        data="shapes2d",
        num_classes=3,
        class_names=("background", "circle", "square"),
        patch=(48, 48),
        train_samples=10_000,
        val_samples=2_000,
        model="unet2d",
        conv=None,
        # the paper trains "until convergence" and gives neither the duration nor the batch size
        epochs=10,
        batch_size=32,
    )


@register_recipe
def shapes_acs() -> SegmentationRecipe:
    """The 2D UNet of shapes2d, converted to 3D with ACS and trained on the solids."""
    return replace(
        shapes3d(),
        name="shapes_acs",
        model="unet2d",
        conv=None,
        convert="acs",
        start_from="runs/shapes2d",
    )
