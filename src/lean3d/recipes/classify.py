"""Classify a volume with the model of a run, or with the mean of several runs."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from lean3d.data import Volume, load_volume
from lean3d.data.folder import ImagePath
from lean3d.errors import RunError
from lean3d.metrics.outputs import class_probabilities
from lean3d.recipes.class_cases import sample_of
from lean3d.recipes.fast import fast_network
from lean3d.recipes.load import load_run
from lean3d.recipes.volume_classification import VolumeClassificationRecipe

__all__ = ["Classifier", "classify"]


@torch.inference_mode()
def classify(
    model: nn.Module,
    recipe: VolumeClassificationRecipe,
    volume: Volume,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return the probabilities of the classes of a volume as its file has it, (K,), on the CPU."""
    device = device or next((p.device for p in model.parameters()), torch.device("cpu"))
    model = model.to(device).eval()
    logits = model(sample_of(recipe, volume)[None].to(device))
    return class_probabilities(logits, recipe.ordinal)[0].cpu()


class Classifier:
    """Runs that classify volumes together.

    Args:
        runs: Folders of runs; their probabilities are averaged.
        optimize: Run the networks by the fastest backend, which is found at the first volume.
        precision: What convolutions are computed in then.

    Raises:
        RunError: a run classifies no volumes, or they know other classes.
    """

    def __init__(
        self,
        runs: Sequence[str | Path],
        device: torch.device | str | None = None,
        optimize: bool = False,
        precision: str = "float32",
    ):
        self.device = device
        self.members: list[tuple[nn.Module, VolumeClassificationRecipe]] = []
        for run in runs:
            model, recipe = load_run(run)
            if not isinstance(recipe, VolumeClassificationRecipe):
                raise RunError(f"{run} learnt {recipe.task} and does not classify volumes")
            if self.members and recipe.names != self.names:
                raise RunError(f"{run} and {runs[0]} cannot be averaged: they know other classes")
            model = fast_network(model, run, precision) if optimize else model
            self.members.append((model, recipe))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes."""
        return self.members[0][1].names

    def __call__(self, image: ImagePath) -> dict[str, float]:
        """Return the probability of each class of a scan."""
        volume = load_volume(image)
        found = [classify(model, recipe, volume, self.device) for model, recipe in self.members]
        mean_K = torch.stack(found).mean(0)
        return dict(zip(self.names, mean_K.tolist(), strict=True))
