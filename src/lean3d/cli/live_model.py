"""The model of `lean3d stream` and `lean3d export`: of a run, or of the registry."""

import sys
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from lean3d.cli.fits import check_fits
from lean3d.cli.model import NetworkFlags
from lean3d.cli.sources import run_files, weights_files
from lean3d.data.pixels import normalise_pixels
from lean3d.errors import RunError
from lean3d.limits import check_number
from lean3d.streaming import Stream, stream

__all__ = ["LiveFlags", "LiveModel", "load_live"]

SIZE = 112
# limits of an image side, and of a window
MOST_PIXELS, MOST_FRAMES = 8192, 1_000_000
# limit of the clips on which a stream is checked
FRAMES = 8


@dataclass(frozen=True)
class LiveFlags(NetworkFlags):
    """How a model is loaded and streamed.

    Attributes:
        size: Height and width of the model's frames; 112, or those of the run, by default.
        wait: Stream a non-causal network unchanged, with delayed outputs.
        window: With --wait, frames that a mean over all time covers; all so far by default.
    """

    size: int | None = None
    wait: bool = False
    window: int | None = None

    def read(self) -> dict[str, list[Path]]:
        """Return the files read, by description: no output may replace them."""
        return {
            "--weights file": weights_files(self.weights),
            "run's own file": run_files(Path(self.model)),
        }

    def stream(self, model: nn.Module, frame: tuple[int, int, int] | None) -> Stream:
        return stream(model, wait=self.wait, window=self.window, frame=frame)


@dataclass(frozen=True)
class LiveModel:
    """A streaming model, the size of its frames, and the class names of its run."""

    live: Stream
    size: int
    classes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Return class names; without a run, numbers, as many as the last layer has outputs."""
        heads = [module for module in self.live.model.modules() if isinstance(module, nn.Linear)]
        if not (self.classes or heads):
            raise RunError("stream names clips, and this model has no linear layer to name them")
        return self.classes or tuple(map(str, range(heads[-1].out_features)))

    def normalise(self, clip_BCTHW: Tensor) -> Tensor:
        """Normalise pixels from 0 to 1 for the weights: published ones have their own mean."""
        loaded = getattr(self.live.model, "checkpoint", None)
        own = None if loaded is None else loaded.preprocessing
        if own is None or own.mean is None:
            return normalise_pixels(clip_BCTHW)
        return own.normalise(255 * clip_BCTHW)


def load_live(asked: LiveFlags, in_channels: int | None = None) -> LiveModel:
    """Return the run in the folder `asked.model`, or else the network of that reference."""
    if asked.size is not None:
        check_number("--size", asked.size, 1, MOST_PIXELS)
    if asked.window is not None:
        check_number("--window", asked.window, 1, MOST_FRAMES)
    if Path(asked.model).is_dir():
        return _of_run(asked)
    model = asked.build(in_channels=in_channels).eval()
    side = asked.size or SIZE
    channels = in_channels or asked.sizes(None)[1]
    check_fits(model, (2, channels, FRAMES, side, side))
    live = asked.stream(model, None if in_channels is None else (in_channels, side, side))
    if asked.weights is None:
        print("lean3d: the weights are random; pass --weights, or a run", file=sys.stderr)
    return LiveModel(live, side)


def _of_run(asked: LiveFlags) -> LiveModel:
    from lean3d.recipes import ClassificationRecipe
    from lean3d.recipes.load import read_recipe

    recipe = read_recipe(Path(asked.model))
    model = asked.build()
    if not isinstance(recipe, ClassificationRecipe):
        raise RunError(
            f"{asked.model} learnt {recipe.task} and stream names clips; use lean3d predict"
        )
    side = asked.size or recipe.size
    return LiveModel(asked.stream(model, (recipe.in_channels, side, side)), side, recipe.names)
