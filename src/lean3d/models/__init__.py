"""Networks that take the operator as an argument."""

from lean3d.models.registry import create_model, list_models, register_model
from lean3d.models.unet import UNet

__all__ = ["UNet", "create_model", "list_models", "register_model"]
