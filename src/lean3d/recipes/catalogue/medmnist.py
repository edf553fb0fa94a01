"""MedMNIST3D: Yang et al., MedMNIST v2, Scientific Data 10, 2023, with its ResNet-18 in ACS."""

from lean3d.recipes.registry import register_recipe
from lean3d.recipes.volume_classification import VolumeClassificationRecipe

__all__ = ["medmnist"]


@register_recipe
def medmnist() -> VolumeClassificationRecipe:
    """Classify a set of MedMNIST3D as its paper does: give --data medmnist:FILE.npz.

    The stem of the ResNet is that of ACS (a kernel of 7, stride 1), with ImageNet's weights; the
    paper's has a kernel of 3 and starts from random weights.
    """
    return VolumeClassificationRecipe(
        name="medmnist",
        data="",
        model="acs:resnet18",
        convert="acs",
        weights="pretrained",
        balance=False,
        lr=1e-3,
        schedule="steps",
        epochs=100,
        batch_size=32,
    )
