"""Recipe names and their functions."""

from collections.abc import Callable
from typing import TypeVar

from lean3d.plugins import Registry
from lean3d.recipes.base import Recipe

__all__ = ["get_recipe", "list_recipes", "register_recipe"]

Maker = TypeVar("Maker", bound=Callable[[], Recipe])

_RECIPES: Registry[Callable[[], Recipe]] = Registry("recipe", "lean3d.recipes.catalogue")


def register_recipe(function: Maker) -> Maker:
    """Decorate a function that returns a recipe: `lean3d train` then finds it by its name.

    The function takes no arguments, its first line of documentation is shown beside the name, and
    the `name` of the recipe is the function's. It may be in another package, see `lean3d.plugins`.
    """
    _RECIPES.add(function.__name__, function)
    return function


def list_recipes() -> dict[str, str]:
    """Return every recipe's name with its one-line description."""
    return {name: (f.__doc__ or "").partition("\n")[0] for name, f in _RECIPES.items()}


def get_recipe(name: str) -> Recipe:
    """Look a recipe up by name.

    Raises:
        RunError: no recipe has that name; the message gives the nearest, or all.
    """
    return _RECIPES.find(name)()
