"""The flags that describe a model, shared by the commands that build one."""

from dataclasses import dataclass
from typing import Annotated, Any

import tyro
from torch import nn

from lean3d.errors import ShapeError
from lean3d.limits import check_sizes
from lean3d.models import find_model
from lean3d.recipes.make import make_model
from lean3d.recipes.options import read_options

__all__ = ["ModelFlags"]

# limit of a size: more than any axis has
DIGITS = 12
AXES = {4: ("B", "C", "H", "W"), 5: ("B", "C", "D", "H", "W")}


@dataclass(frozen=True)
class ModelFlags:
    """A registered model.

    Attributes:
        model: A name of lean3d.list_models().
        num_classes: The model's own default if not given.
        widths: Channels of the model's stages; its own default if not given.
        options: More arguments of the model, such as skip=full convs=1.
    """

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    num_classes: int | None = None
    widths: tuple[int, ...] | None = None
    options: tuple[str, ...] = ()

    def build(self, **more: Any) -> nn.Module:
        """Build the model; an argument that is None is left to its own default."""
        given: dict[str, Any] = dict(num_classes=self.num_classes, widths=self.widths, **more)
        return make_model(self.model, given | read_options(self.options))

    def sizes(self, text: str | None) -> tuple[int, ...]:
        """Return the input shape: as given, or that of the model's paper."""
        return find_model(self.model).input_shape if text is None else _read(text)


def _read(text: str) -> tuple[int, ...]:
    """Parse the sizes in "1,3,8,224,224".

    Raises:
        ShapeError: a size is not a positive number; names its axis.
    """
    words = text.split(",")
    names = AXES.get(len(words)) or tuple(f"axis {place}" for place in range(len(words)))
    for name, word in zip(names, words, strict=True):
        if not word.isdecimal() or len(word) > DIGITS or int(word) < 1:
            raise ShapeError(
                f"--input is sizes such as 1,3,8,224,224, batch and channels first, got {text!r}: "
                f"{name} is {word[:DIGITS]!r}, not a positive number of at most {DIGITS} digits"
            )
    sizes = tuple(map(int, words))
    check_sizes("--input", sizes)
    return sizes
