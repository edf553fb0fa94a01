"""The flags that describe a model, shared by the commands that build one."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from lean3d.recipes.build import make_model
from lean3d.recipes.options import read_options

__all__ = ["ModelFlags"]


@dataclass(frozen=True)
class ModelFlags:
    """A registered model.

    Attributes:
        model: A name of lean3d.list_models().
        num_classes: The model's own default if not given.
        widths: Channels of the model's stages; its own default if not given.
        options: More arguments of the model, such as skip=full convs=1.
    """

    model: str
    num_classes: int | None = None
    widths: tuple[int, ...] | None = None
    options: tuple[str, ...] = ()

    def build(self, **more: Any) -> nn.Module:
        """The model; an argument that is None is left to its own default."""
        given: dict[str, Any] = dict(num_classes=self.num_classes, widths=self.widths, **more)
        return make_model(self.model, given | read_options(self.options))
