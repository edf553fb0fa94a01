"""Networks that take the operator as an argument."""

from lean3d.models.registry import (
    ModelEntry,
    create_model,
    find_model,
    list_models,
    register_models,
)
from lean3d.models.unet import UNet

__all__ = ["ModelEntry", "UNet", "create_model", "find_model", "list_models", "register_models"]
