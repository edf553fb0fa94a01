"""Complete runs as functions that return a frozen dataclass."""

from lean3d.networks.acs_paper import acs_network
from lean3d.recipes.affinity import AffinityRecipe
from lean3d.recipes.base import Recipe
from lean3d.recipes.classification import ClassificationRecipe
from lean3d.recipes.identity import IdentityRecipe
from lean3d.recipes.recurrence import RecurrenceRecipe
from lean3d.recipes.registry import get_recipe, list_recipes, register_recipe
from lean3d.recipes.segmentation import SegmentationRecipe
from lean3d.recipes.volume_classification import VolumeClassificationRecipe

__all__ = [
    "AffinityRecipe",
    "ClassificationRecipe",
    "IdentityRecipe",
    "Recipe",
    "RecurrenceRecipe",
    "SegmentationRecipe",
    "VolumeClassificationRecipe",
    "acs_network",
    "get_recipe",
    "list_recipes",
    "register_recipe",
]
