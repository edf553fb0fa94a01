"""Complete runs as functions that return a frozen dataclass."""

from lean3d.recipes.base import Recipe
from lean3d.recipes.registry import get_recipe, list_recipes

__all__ = ["Recipe", "get_recipe", "list_recipes"]
