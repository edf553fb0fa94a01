"""Lung nodules of LIDC-IDRI: Yang et al., ACS, arXiv:1911.10477, Sec 4.2 and Table 4."""

from lean3d.recipes.registry import register_recipe
from lean3d.recipes.segmentation import SegmentationRecipe
from lean3d.recipes.volume_classification import VolumeClassificationRecipe

__all__ = ["lidc", "lidc_malignancy"]

# grey values from 0 to 255 become -1 .. 0, as in the authors' code
GREYS = (-3e38, 3e38, 255.0, 255.0)


@register_recipe
def lidc() -> SegmentationRecipe:
    """Segment lung nodules as ACS does (Table 4): give --data lidc:DIR.

    --convert planar, conv3d, i3d, acs and p3sc1 are its rows, with --weights None those without
    pretraining; --convert conv3d --weights FILE takes Med3D's or a video network's file.
    A nodule is drawn at random for every crop, where the paper takes each once an epoch. Without a
    weight decay, as in the authors' code, which names one and does not use it.
    """
    return SegmentationRecipe(
        name="lidc",
        data="",
        num_classes=2,
        model="acs:fcn_resnet18",
        convert="acs",
        weights="pretrained",
        spacing_mm=(),
        scaling=GREYS,
        patch=(48, 48, 48),
        middle=5,
        turns=True,
        flips=(0, 1, 2),
        min_foreground=0.0,
        # four fifths of 2,635 nodules, and the others
        train_samples=2108,
        val_samples=527,
        loss="dice",
        lr=1e-3,
        schedule="steps",
        epochs=100,
        batch_size=8,
    )


@register_recipe
def lidc_malignancy() -> VolumeClassificationRecipe:
    """Tell malignant nodules from benign ones as ACS does (Table 4): give --data lidc:DIR.

    A fifth of the training nodules chooses the best epoch; those of the paper's test set are for
    `lean3d evaluate`.
    """
    return VolumeClassificationRecipe(
        name="lidc_malignancy",
        data="",
        model="acs:resnet18",
        convert="acs",
        weights="pretrained",
        in_channels=1,
        scaling=GREYS,
        size=(48, 48, 48),
        fit="crop",
        shift=5,
        turns=True,
        flips=(0, 1, 2),
        balance=False,
        lr=1e-3,
        schedule="steps",
        epochs=100,
        batch_size=24,
    )
