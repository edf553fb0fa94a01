"""Classify volumes by the features of a network as they are.

Source: the linear probe of PlaneCycle (arXiv:2603.04165), a logistic regression on features that
are averaged over a volume.

Axes: N volumes, C features, K classes.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.errors import RunError
from lean3d.metrics import class_scores, linear_probe
from lean3d.models.heads import head_features, score_head
from lean3d.recipes.base import Recipe
from lean3d.recipes.build import build_model
from lean3d.recipes.class_cases import ClassCase, sample_of, split_classes
from lean3d.recipes.load import load_start
from lean3d.recipes.places import with_whole_paths
from lean3d.recipes.resolve import resolve
from lean3d.recipes.volume_classification import VolumeClassificationRecipe

__all__ = ["probe"]

Tell = Callable[[str], None]


def probe(
    recipe: Recipe,
    *,
    strength: float = 0.1,
    device: torch.device | str = "cpu",
    tell: Tell = lambda line: None,
) -> list[dict[str, Any]]:
    """Fit a logistic regression on the training volumes; score the held-out and the test ones.

    The network keeps the weights that a run of the recipe would start with. Volumes are seen as in
    validation, without augmentation; classes weigh what they weigh in the loss of a run.

    Args:
        recipe: Of a classification of whole volumes.
        strength: Inverse of the penalty on the weights of the regression (scikit-learn's C).
        tell: Called with each line on what was found.

    Returns:
        For each part of the data its name, its number of volumes, and `class_scores`.

    Raises:
        RunError: the recipe is of another task, or its data have no classes.
    """
    if not isinstance(recipe, VolumeClassificationRecipe):
        raise RunError(f"a probe classifies whole volumes; recipe {recipe.name} does not")
    recipe.check()
    if strength <= 0:
        raise RunError(f"strength is above 0, got {strength}")
    settled = resolve(with_whole_paths(recipe), None, tell)
    assert isinstance(settled, VolumeClassificationRecipe)
    start = None if settled.start_from is None else load_start(settled.start_from)
    built = build_model(settled, start, weights=start is None)
    given = built.note if start is None else f"weights of {settled.start_from}"
    tell(given or "random weights; --weights pretrained, or a file, gives others")
    split = split_classes(settled)
    parts = {"train": split.train, "validation": split.held_out, "test": split.test}
    found = {
        name: _part(built.model, settled, cases, device) for name, cases in parts.items() if cases
    }
    features, labels = found.pop("train")
    weights = dict(enumerate(settled.class_weights)) or None
    probabilities = linear_probe(
        (features, labels),
        [x for x, _ in found.values()],
        num_classes=settled.num_classes,
        strength=strength,
        class_weights=weights,
    )
    rows = []
    for (name, (_, label)), prob in zip(found.items(), probabilities, strict=True):
        scores = class_scores(prob, label)
        if not settled.ordinal:
            del scores["kappa"]
        rows.append({"part": name, "volumes": len(label), **scores})
    return rows


def _part(
    model: nn.Module,
    recipe: VolumeClassificationRecipe,
    cases: Sequence[ClassCase],
    device: torch.device | str,
) -> tuple[Tensor, Tensor]:
    size = recipe.batch_size
    batches = (
        torch.stack([sample_of(recipe, case.read()) for case in cases[first : first + size]])
        for first in range(0, len(cases), size)
    )
    features = head_features(model, score_head(model, recipe.num_outputs), batches, device)
    return features, torch.tensor([case.target for case in cases])
