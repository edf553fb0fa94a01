"""Recipe names and their functions."""

import difflib
from collections.abc import Callable

from lean3d.errors import RunError
from lean3d.recipes.base import Recipe
from lean3d.recipes.brain import brain2d, brain3d, brain_acs
from lean3d.recipes.digits import (
    digits,
    digits_atoms,
    digits_baseline,
    digits_gru,
    digits_lstm,
    digits_turns,
)
from lean3d.recipes.folder import folder
from lean3d.recipes.shapes import shapes2d, shapes3d, shapes_acs
from lean3d.recipes.videos import videos

__all__ = ["get_recipe", "list_recipes"]

_VIDEO = (videos, digits, digits_baseline, digits_lstm, digits_gru, digits_atoms, digits_turns)
_FUNCTIONS = (brain2d, brain3d, brain_acs, shapes2d, shapes3d, shapes_acs, folder, *_VIDEO)
_RECIPES: dict[str, Callable[[], Recipe]] = {f.__name__: f for f in _FUNCTIONS}


def list_recipes() -> dict[str, str]:
    """Return every recipe's name with its one-line description."""
    return {name: (f.__doc__ or "").partition("\n")[0] for name, f in _RECIPES.items()}


def get_recipe(name: str) -> Recipe:
    """Look a recipe up by name.

    Raises:
        RunError: no recipe has that name; the message gives the nearest, or all.
    """
    if name not in _RECIPES:
        near = difflib.get_close_matches(name, _RECIPES, n=2)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(_RECIPES)}"
        raise RunError(f"no recipe called {name!r}; {hint}")
    return _RECIPES[name]()
