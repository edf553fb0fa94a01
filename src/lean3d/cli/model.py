"""The flags that describe a model, shared by the commands that build one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from torch import nn

from lean3d.errors import RunError, ShapeError
from lean3d.limits import check_sizes
from lean3d.models import find_model
from lean3d.networks import Built, Network
from lean3d.recipes.options import read_options

__all__ = ["ModelFlags", "NetworkFlags"]

# the input of networks of zoos and of the user, if none is given
FLAT, DEEP = (1, 3, 224, 224), (1, 3, 32, 112, 112)

# limit of a size: more than any axis has
DIGITS = 12
AXES = {4: ("B", "C", "H", "W"), 5: ("B", "C", "D", "H", "W")}


@dataclass(frozen=True)
class ModelFlags:
    """A network by its reference.

    Attributes:
        model: A name of lean3d.list_models(), timm:resnet50, torchvision:densenet121,
            smp:Unet/resnet34, acs:fcn_resnet18, monai:UNet, package.module:function,
            file.py:function, or the folder of a run.
        num_classes: The model's own default if not given.
        widths: Channels of the stages of a model of lean3d; its own default if not given.
        options: More arguments of the model, such as skip=full convs=1.
        segment: Give a network that classifies images a decoder.
    """

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    num_classes: int | None = None
    widths: tuple[int, ...] | None = None
    options: tuple[str, ...] = ()
    segment: bool = False

    @property
    def run(self) -> Path | None:
        """The folder of the run, if the model is one."""
        path = Path(self.model)
        return path if (path / "recipe.json").is_file() else None

    def build(self, **more: Any) -> nn.Module:
        """Build the model; an argument that is None is left to its own default."""
        return self.network(**more).model

    def network(self, **more: Any) -> Built:
        """Build the model, or load that of a run, and describe its weights."""
        given = {key: value for key, value in (self._given() | more).items() if value is not None}
        if self.run is None:
            options = read_options(self.options)
            return Network(self.model, segment=self.segment, options=options, **given).build()
        # that of a run is fixed, and has its channels
        fixed = given.keys() - {"in_channels"}
        if fixed or self.options or self.segment:
            name = min(fixed, default="options" if self.options else "segment")
            raise RunError(
                f"{self.model} is a run, which has its own model and weights; leave out "
                f"--{name.replace('_', '-')}"
            )
        from lean3d.recipes.load import load_run

        model, recipe = load_run(self.run)
        return Built(model, (), f"weights of the run {self.model}, {recipe.model}")

    def _given(self) -> dict[str, Any]:
        return dict(num_classes=self.num_classes, widths=self.widths)

    def sizes(self, text: str | None) -> tuple[int, ...]:
        """Return the input shape: as given, or that of the run or of the model's paper."""
        if text is not None:
            return _read(text)
        if self.run is not None:
            from lean3d.recipes.load import read_recipe

            recipe = read_recipe(self.run)
            return (1, recipe.in_channels, *recipe.input_size)
        if ":" not in self.model:
            return find_model(self.model).input_shape
        return DEEP if self._given().get("convert") else FLAT


@dataclass(frozen=True)
class NetworkFlags(ModelFlags):
    """A network by its reference, its weights and its conversion.

    Attributes:
        convert: Turn the 2D model into 3D first: acs, mean_acs, soft_acs, planar,
            plane_cycle, inflate, i3d or conv3d, or into a lean form such as p3sc1.
        keep_depth: How many of the first downsamplings leave depth alone in the converted model;
            "all" of them, for thick slices.
        weights: pretrained, a name of the zoo's weights, or a file: of the 2D model before the
            conversion, of the 3D one, or of its backbone.
        weights_part: encoder loads that alone, all the whole model; by default what the file has.
        format: Of the file of weights, if its keys are ambiguous; lean3d for your own.
    """

    convert: str | None = None
    keep_depth: int | Literal["all"] = 0
    weights: str | None = None
    weights_part: Literal["encoder", "all"] | None = None
    format: str | None = None

    def _given(self) -> dict[str, Any]:
        names = "convert", "weights", "weights_part", "format"
        more = {name: getattr(self, name) for name in names}
        return super()._given() | more | {"keep_depth": self.keep_depth or None}


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
