"""A registered model of lean3d."""

import copy

import torch
from torch import Tensor, nn

from lean3d.errors import RunError
from lean3d.models import find_model
from lean3d.networks.decoder import fcn
from lean3d.networks.make import make_model
from lean3d.networks.source import Asked, refuse_weights

__all__ = ["registered"]

PREFIXES = "timm:, torchvision:, smp:, acs:, monai:, nnunet:"


def registered(asked: Asked) -> tuple[nn.Module, set[str]]:
    """Build `lean3d.create_model(name)`."""
    try:
        find_model(asked.name)
    except RunError as error:
        raise RunError(f"{error}; networks of zoos have a prefix, {PREFIXES}") from error
    if asked.weights is not None:
        raise refuse_weights(asked, "its published weights are files; give one of them, or none")
    ends = {"in_channels": asked.in_channels, "num_classes": asked.num_classes}
    model = make_model(asked.name, ends | asked.options)
    if asked.segment and _classifies(model, asked):
        model = fcn(model, asked.num_classes or 2)
    return model, set(ends)


def _classifies(model: nn.Module, asked: Asked) -> bool:
    """Whether the outputs of a network are of whole images, volumes or videos."""
    _, channels, *sizes = find_model(asked.name).input_shape
    light = copy.deepcopy(model).eval().to("meta")
    try:
        found = light(torch.empty(1, asked.in_channels or channels, *sizes, device="meta"))
    except Exception:  # options may ask for another input; the recipe tells what does not fit
        return False
    return isinstance(found, Tensor) and found.ndim == 2
