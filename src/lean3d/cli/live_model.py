"""The model of `lean3d stream` and `lean3d export`: of a run, or of the registry."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from lean3d.cli.fits import check_fits
from lean3d.cli.model import NetworkFlags
from lean3d.cli.sources import run_files, weights_files
from lean3d.data.frames import MOST_FPS, FrameSource
from lean3d.data.look import Look
from lean3d.data.sampled import Sampled
from lean3d.errors import RunError
from lean3d.limits import check_number
from lean3d.recipes.published import published_look
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
        size: Height and width of the model's frames; those of the run or of the published weights,
            or 112, by default.
        step: Take every `step`-th frame; as the run or the published weights were trained by
            default.
        rate: Frames a second that are taken, if the video has more; likewise.
        wait: Stream a non-causal network unchanged, with delayed outputs.
        window: With --wait, frames that a mean over all time covers; all so far by default.
    """

    size: int | None = None
    step: int | None = None
    rate: float | None = None
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
    """A streaming model, what its frames look like, which it takes, and the names of its classes.

    Args:
        step: It takes every `step`-th frame,
        rate: of this many a second.
    """

    live: Stream
    look: Look
    step: int = 1
    rate: float | None = None
    classes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Return class names; without a run, numbers, as many as the last layer has outputs."""
        heads = [module for module in self.live.model.modules() if isinstance(module, nn.Linear)]
        if not (self.classes or heads):
            raise RunError(
                "this model has no linear layer, whose outputs would be the classes to show; "
                "stream a classifier"
            )
        return self.classes or tuple(map(str, range(heads[-1].out_features)))

    def sample(self, source: FrameSource) -> FrameSource:
        """Return the frames that the model takes of a source."""
        if self.step == 1 and self.rate is None:
            return source
        return Sampled(source, self.step, self.rate)


def load_live(
    asked: LiveFlags, in_channels: int | None = None, *, vectors: bool = False
) -> LiveModel:
    """Return the run in the folder `asked.model`, or else the network of that reference.

    Args:
        vectors: Take runs that learnt vectors of persons too, which have no classes.
    """
    for flag, value, most in (
        ("--size", asked.size, MOST_PIXELS),
        ("--window", asked.window, MOST_FRAMES),
        ("--step", asked.step, MOST_FRAMES),
    ):
        if value is not None:
            check_number(flag, value, 1, most)
    if asked.rate is not None:
        check_number("--rate", asked.rate, 0, MOST_FPS, above=True)
    if Path(asked.model).is_dir():
        return _of_run(asked, vectors)
    model = asked.build(in_channels=in_channels).eval()
    loaded = getattr(model, "checkpoint", None)
    published = None if loaded is None else loaded.preprocessing
    channels = in_channels or asked.sizes(None)[1]
    look = published_look(published, asked.size, SIZE, channels)
    check_fits(model, (2, channels, FRAMES, *look.size))
    live = asked.stream(model, None if in_channels is None else (in_channels, *look.size))
    if asked.weights is None:
        print("lean3d: the weights are random; pass --weights, or a run", file=sys.stderr)
    step, rate = (None, None) if published is None else (published.step, published.fps)
    taken = LiveModel(live, look, asked.step or step or 1, asked.rate or rate)
    if loaded is not None and published is not None and in_channels is not None:
        print(f"lean3d: {_said(loaded.path, taken)}", file=sys.stderr)
    return taken


def _said(weights: str, model: LiveModel) -> str:
    height, width = model.look.size
    taken = "every frame" if model.step == 1 else f"one frame of {model.step}"
    rate = "" if model.rate is None else f" of {model.rate:g} a second"
    side = model.look.short_side
    cut = "" if side is None else f" of frames whose shorter side is scaled to {side[0]}"
    return (
        f"input as {weights} was published: {height} x {width}{cut}, {taken}{rate}; --size, --step "
        "and --rate change it"
    )


def _of_run(asked: LiveFlags, vectors: bool) -> LiveModel:
    from lean3d.infer import Embedding
    from lean3d.recipes import ClassificationRecipe, IdentityRecipe
    from lean3d.recipes.clips import look
    from lean3d.recipes.load import read_recipe
    from lean3d.recipes.tracklets import person_look

    recipe = read_recipe(Path(asked.model))
    model = asked.build()
    if isinstance(recipe, IdentityRecipe) and vectors:
        sides = (asked.size, asked.size) if asked.size else recipe.sides
        look_at = person_look(replace(recipe, size=sides[0], width=sides[1]))
        whole = Embedding(model, recipe.skip, recipe.normalise).eval()
        return LiveModel(asked.stream(whole, (recipe.in_channels, *sides)), look_at)
    if not isinstance(recipe, ClassificationRecipe):
        other = "index and search" if recipe.task == "identity" else "predict"
        raise RunError(
            f"{asked.model} learnt {recipe.task} and stream names clips; use lean3d {other}"
        )
    if asked.size is not None:
        recipe = replace(recipe, size=asked.size, width=None, short_side=None, crop="scales")
    live = asked.stream(model, (recipe.in_channels, *recipe.sides))
    step, rate = asked.step or recipe.step, asked.rate or recipe.fps
    return LiveModel(live, look(recipe), step, rate, recipe.names)
