"""How frames are cropped and standardised, checked for every recipe that says it."""

from typing import Any, Protocol

from lean3d.data.look import Crop

__all__ = ["Looks", "check_look"]

SMALLEST = 16  # pixels of a side


class Looks(Protocol):
    """A recipe with the settings of `lean3d.data.look`."""

    @property
    def in_channels(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def sides(self) -> tuple[int, int]: ...
    @property
    def crop(self) -> Crop: ...
    @property
    def short_side(self) -> tuple[int, ...] | None: ...
    @property
    def mean(self) -> tuple[float, ...] | None: ...
    @property
    def std(self) -> tuple[float, ...] | None: ...
    def refuse(self, name: str, what: str) -> Any: ...


def check_look(recipe: Looks) -> None:
    """Refuse sizes, crops, means and deviations that no frame can have.

    Raises:
        RunError: names the recipe, the field and its value.
    """
    short = recipe.short_side
    if min(recipe.sides) < SMALLEST:
        recipe.refuse("size" if recipe.size < SMALLEST else "width", "is 16 pixels or more")
    if short is not None and not (len(short) == 2 and 1 <= short[0] <= short[1]):
        recipe.refuse("short_side", "is two sizes, the smaller first, such as 256 320")
    if recipe.crop == "short_side" and short is None:
        recipe.refuse("short_side", "is needed by crop short_side, such as 256 320")
    if (recipe.mean is None) != (recipe.std is None):
        recipe.refuse("std", "and mean are given together")
    for name, values in (("mean", recipe.mean), ("std", recipe.std)):
        if len(values or (1,)) not in (1, recipe.in_channels):
            recipe.refuse(name, f"is one number, or one for each of {recipe.in_channels} channels")
    if recipe.std is not None and min(recipe.std) <= 0:
        recipe.refuse("std", "is above 0")
