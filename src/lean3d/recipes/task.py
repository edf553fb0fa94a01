"""Build the task of a recipe: its model with a loss, an optimizer and scores.

Apart from the model, because Lightning takes seconds to import.
"""

from functools import partial, singledispatch
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.recipes.affinity import AffinityRecipe
from lean3d.recipes.base import Recipe
from lean3d.recipes.classification import ClassificationRecipe
from lean3d.recipes.identity import IdentityRecipe
from lean3d.recipes.predict import predict_image
from lean3d.recipes.recurrence import RecurrenceRecipe
from lean3d.recipes.segmentation import SegmentationRecipe
from lean3d.recipes.turns import ClassificationByTurns
from lean3d.recipes.volume_classification import VolumeClassificationRecipe
from lean3d.tasks.affinities import Affinities
from lean3d.tasks.classification import Classification
from lean3d.tasks.deep_supervision import DeepSupervision
from lean3d.tasks.identity import Identity
from lean3d.tasks.learner import Learner
from lean3d.tasks.recurrence import Recurrence
from lean3d.tasks.segmentation import Segmentation
from lean3d.tasks.volume_classification import VolumeClassification

__all__ = ["build_task"]


@singledispatch
def build_task(recipe: Recipe, model: nn.Module) -> Learner:
    """Return the model with the recipe's loss, optimizer and class names."""
    raise NotImplementedError(f"{recipe.task} has no task")


@build_task.register
def _(recipe: SegmentationRecipe, model: nn.Module) -> Segmentation:
    return Segmentation(
        model,
        recipe.num_classes,
        class_names=recipe.names,
        loss=recipe.loss,
        background=recipe.background,
        weights=recipe.class_weights or None,
        regions=recipe.read_regions,
        whole=partial(_whole, recipe) if recipe.whole_cases else None,
        deep=_deep(recipe, model),
        **_learning(recipe),
    )


@build_task.register
def _(recipe: AffinityRecipe, model: nn.Module) -> Affinities:
    return Affinities(
        model,
        recipe.channels,
        loss=recipe.loss,
        balance=recipe.balance,
        shrink=recipe.shrink,
        sections=recipe.sections,
        **_learning(recipe),
    )


@build_task.register
def _(recipe: ClassificationRecipe, model: nn.Module) -> Classification:
    kind: type[Classification] = Classification
    more: dict[str, Any] = {}
    if recipe.staged:
        kind = ClassificationByTurns
        more = dict(turn=recipe.turn, shrink=recipe.shrink, skip=recipe.skip)
        more |= dict(stage_epochs=recipe.stage_epochs, stage_lr=recipe.stage_lr)
    elif isinstance(recipe, RecurrenceRecipe):
        kind = Recurrence
    return kind(
        model,
        recipe.num_classes,
        class_names=recipe.names,
        scoring=recipe.scoring,
        **more,
        **_learning(recipe),
    )


@build_task.register
def _(recipe: VolumeClassificationRecipe, model: nn.Module) -> VolumeClassification:
    return VolumeClassification(
        model,
        recipe.num_classes,
        class_names=recipe.names,
        weights=recipe.class_weights or None,
        ordinal=recipe.ordinal,
        **_learning(recipe),
    )


@build_task.register
def _(recipe: IdentityRecipe, model: nn.Module) -> Identity:
    with torch.random.fork_rng():
        # of the layer that names the persons
        torch.manual_seed(recipe.seed)
        return Identity(
            model,
            recipe.embedding,
            recipe.num_classes,
            triplet=recipe.triplet,
            margin=recipe.margin,
            dropout=recipe.dropout,
            normalise=recipe.normalise in ("mean", "both"),
            **_learning(recipe),
        )


def _deep(recipe: SegmentationRecipe, model: nn.Module) -> DeepSupervision | None:
    if not recipe.deep_supervision:
        return None
    sample = (1, recipe.in_channels, *recipe.patch)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        return DeepSupervision(model, recipe.num_outputs, sample, recipe.deep_supervision)


def _whole(recipe: SegmentationRecipe, model: nn.Module, image_CDHW: Tensor) -> Tensor:
    return predict_image(model, recipe, image_CDHW)


def _learning(recipe: Recipe) -> dict[str, Any]:
    names = ["optimizer", "weight_decay", "momentum", "nesterov"]
    names += ["schedule", "steps", "warmup", "warmup_epochs"]
    names += ["channels_last", "checkpointing", "freeze"]
    own = {name: getattr(recipe, name) for name in names}
    return own | {"lr": recipe.step_lr, "lr_scale": recipe.lr_scales}
