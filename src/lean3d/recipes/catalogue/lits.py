"""Livers and their tumours, LiTS: Yang et al., ACS, arXiv:1911.10477, Sec 4.3 and Table 5."""

from lean3d.recipes.registry import register_recipe
from lean3d.recipes.segmentation import SegmentationRecipe

__all__ = ["lits"]


@register_recipe
def lits() -> SegmentationRecipe:
    """Segment livers and tumours as ACS does (Table 5): give --data lits:DIR.

    An epoch is one crop of each of 131 scans less those held out. Windows of 64 slices move by 24.
    """
    return SegmentationRecipe(
        name="lits",
        data="",
        num_classes=3,
        class_names=("background", "liver", "lesion"),
        model="torchvision:deeplabv3_resnet101",
        convert="acs",
        weights="COCO_WITH_VOC_LABELS_V1",
        spacing_mm=(),
        intensity=("window",),
        hu=(-200.0, 250.0),
        patch=(64, 224, 224),
        window=(64, 512, 512),
        overlap=0.625,
        flips=(0, 1, 2),
        augment=("rotate", "scale"),
        train_samples=105,
        val_samples=26,
        lr=1e-3,
        schedule="steps",
        epochs=6000,
        batch_size=2,
    )
