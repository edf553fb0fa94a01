"""Classes of your own volumes."""

from lean3d.recipes.registry import register_recipe
from lean3d.recipes.volume_classification import VolumeClassificationRecipe

__all__ = ["volume_classes"]


@register_recipe
def volume_classes() -> VolumeClassificationRecipe:
    """A 3D ResNet-18 that classifies whole volumes: give --data classes:DIR, csv:DIR, ..."""
    return VolumeClassificationRecipe(
        name="volume_classes",
        data="",
        model="resnet3d_18",
        lr=1e-3,
        epochs=50,
        batch_size=8,
        flips=(2,),
    )
