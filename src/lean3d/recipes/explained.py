"""Show where the network of a run looks in a video or a volume.

Axes: C channels, K classes, T time or depth, H height, W width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.data import load_volume
from lean3d.data.damage import Damage
from lean3d.data.folder import ImagePath
from lean3d.data.frame_times import measure
from lean3d.data.listing import Recording
from lean3d.data.video_clips import read_clip
from lean3d.errors import DataError, RunError
from lean3d.infer.attention import class_attention, feature_attention, find_layer
from lean3d.metrics.outputs import class_probabilities, clip_scores
from lean3d.recipes.class_cases import sample_of
from lean3d.recipes.classification import ClassificationRecipe
from lean3d.recipes.clips import look, window
from lean3d.recipes.intensity import scaled
from lean3d.recipes.load import load_run
from lean3d.recipes.predict import predict_image
from lean3d.recipes.segmentation import SegmentationRecipe
from lean3d.recipes.volume_classification import VolumeClassificationRecipe
from lean3d.shape import triple

__all__ = ["Explained", "explain"]

How = Literal["gradcam", "features"]
# grey values of a volume that are black and white
PERCENTILES = (1, 99)


@dataclass(frozen=True)
class Explained:
    """Where a network looked.

    Args:
        pictures: (T, H, W) or (T, H, W, 3) uint8: what it was given, frame by frame or slice by
            slice.
        heat: (T, H, W) from 0 to 1.
        layer: Whose maps were taken.
        asked: The class whose evidence is shown; None for features.
        found: The class of the highest score and its probability; of a run that segments, the class
            in the window and the mean of its probability.
        fps: Frames a second; None for a volume.
    """

    pictures: np.ndarray
    heat: np.ndarray
    layer: str
    asked: str | None
    found: tuple[str, float]
    fps: float | None


@dataclass(frozen=True)
class _Input:
    """What the network takes, (C, T, H, W), and shows."""

    x: Tensor
    pictures: np.ndarray
    fps: float | None = None


def explain(
    run: str | Path,
    source: ImagePath,
    how: How = "gradcam",
    *,
    layer: str | None = None,
    target: str | None = None,
    device: torch.device | str = "cpu",
) -> Explained:
    """Show where the network of a run looks in the middle clip of a video, or in a volume.

    Of a run that segments, it is the window around the class that is asked for.

    Args:
        how: "gradcam" for the evidence for a class (STDCF Fig 7), "features" for where the maps of
            a layer are strong (STDCF Fig 6).
        layer: Path of a module; by default the last one of the smallest maps.
        target: Name of a class; the one that the network finds by default.

    Raises:
        RunError: the run has no classes, or none of that name, or a setting does not fit.
        DataError: the file cannot be read.
    """
    model, recipe = load_run(run)
    if how not in ("gradcam", "features"):
        raise RunError(f"how is gradcam or features, got {how!r}")
    names = list(getattr(recipe, "names", ()))
    if target is not None and target not in names:
        raise RunError(f"{run} knows no class {target!r}; there are {', '.join(names)[:250]}")
    wanted = None if target is None else names.index(target)
    model, of_voxels = model.to(device).eval(), False
    if isinstance(recipe, ClassificationRecipe):
        given, scores = _clip(recipe, source), _of_clips(recipe)
    elif isinstance(recipe, VolumeClassificationRecipe):
        given, scores = _volume(sample_of(recipe, load_volume(source))), _of_volumes(recipe)
    elif isinstance(recipe, SegmentationRecipe) and len(recipe.patch) == 3:
        given, wanted = _around(model, recipe, source, wanted)
        scores, of_voxels = _all_voxels, True
    else:
        raise RunError(f"{run} learnt {recipe.task} in {recipe.sample}; explain takes 3D classes")
    network, x = _Scores(model, scores), given.x[None].to(device)
    path = find_layer(network, x, layer, inside=NETWORK)
    with torch.no_grad():
        prob_K = _overall(network(x))
    best = int(prob_K.argmax()) if wanted is None or not of_voxels else wanted
    number = best if wanted is None else wanted
    if how == "features":
        heat = feature_attention(network, x, path)[0]
    else:
        heat = class_attention(network, x, path, number)[0]
    return Explained(
        given.pictures,
        heat.numpy(),
        path.removeprefix(NETWORK),
        None if how == "features" else names[number],
        (names[best], float(prob_K[best])),
        given.fps,
    )


NETWORK = "network."


class _Scores(nn.Module):
    """A network, and how its outputs become scores of the classes."""

    def __init__(self, network: nn.Module, scores: Callable[[Tensor], Tensor]):
        super().__init__()
        self.network, self.scores = network, scores

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(self.network(x))


def _of_clips(recipe: ClassificationRecipe) -> Callable[[Tensor], Tensor]:
    return lambda output: clip_scores(output, recipe.scoring)


def _of_volumes(recipe: VolumeClassificationRecipe) -> Callable[[Tensor], Tensor]:
    smallest = torch.finfo(torch.float32).tiny
    return lambda logits: class_probabilities(logits, recipe.ordinal).clamp(min=smallest).log()


def _all_voxels(logits: Any) -> Tensor:
    # of several outputs the first is the full size
    return logits[0] if isinstance(logits, (tuple, list)) else logits


def _overall(scores: Tensor) -> Tensor:
    """Return the probabilities of the classes (K,), of voxels their mean."""
    prob = scores.float().softmax(1)
    return prob.reshape(*prob.shape[:2], -1).mean(2)[0].cpu()


def _clip(recipe: ClassificationRecipe, source: ImagePath) -> _Input:
    path = Path(source if not isinstance(source, tuple) else source[0])
    recording = Recording(path, (0,))
    if not path.exists():
        raise DataError(f"there is no file {path}")
    times = measure(path)
    seen = look(recipe)
    numbers = window(recipe).middle(window(recipe).places(recording, times))
    frames = read_clip(path, numbers, times, Damage([path]))
    x_CTHW = seen.apply(frames, seen.middle(frames[0].shape))
    mean, std = (torch.tensor(v)[:, None, None, None] for v in (seen.mean, seen.std))
    pixels = ((x_CTHW * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    pictures = pixels.permute(1, 2, 3, 0).expand(-1, -1, -1, 3).numpy()
    # frames that are no longer in order have no rate of their own
    length = times.seconds(numbers[-1]) - times.seconds(numbers[0])
    fps = (len(numbers) - 1) / length if length > 0 else 25.0
    return _Input(x_CTHW, pictures, fps)


def _volume(x_CDHW: Tensor) -> _Input:
    grey = x_CDHW[0].float().numpy()
    low, high = np.percentile(grey, PERCENTILES)
    pictures = (grey - low) / max(high - low, 1e-6) * 255
    return _Input(x_CDHW, pictures.round().clip(0, 255).astype(np.uint8))


def _around(
    model: nn.Module, recipe: SegmentationRecipe, source: ImagePath, wanted: int | None
) -> tuple[_Input, int]:
    """Return the window around a class, by default the largest that is found; and its number."""
    volume = scaled(recipe, load_volume(source, spacing_mm=recipe.sides_mm))
    prob_KDHW = predict_image(model, recipe, volume.image)
    label_DHW = prob_KDHW.argmax(0)
    counts = torch.bincount(label_DHW.flatten(), minlength=len(prob_KDHW))
    number = wanted
    if number is None:
        number = 1 + int(counts[1:].argmax()) if len(counts) > 1 else 0
    inside = label_DHW == number
    middle = inside.nonzero().float().mean(0) if inside.any() else None
    if middle is None:
        middle = torch.tensor(np.unravel_index(int(prob_KDHW[number].argmax()), inside.shape))
    sides = triple(recipe.window or recipe.patch, "window")
    image = _at_least(volume.image, sides)
    first = [
        int(min(max(float(place) - side / 2, 0), size - side))
        for place, side, size in zip(middle, sides, image.shape[1:], strict=True)
    ]
    cut = tuple(slice(a, a + side) for a, side in zip(first, sides, strict=True))
    return _volume(image[(slice(None), *cut)].contiguous()), number


def _at_least(image_CDHW: Tensor, sides: tuple[int, int, int]) -> Tensor:
    """Pad an image with its edge, as in training."""
    lacks = [max(side - size, 0) for side, size in zip(sides, image_CDHW.shape[1:], strict=True)]
    around = [(lack // 2, lack - lack // 2) for lack in lacks]
    flat = [number for pair in reversed(around) for number in pair]
    return F.pad(image_CDHW[None], flat, mode="replicate")[0]
