"""Networks that take the operator as an argument; every module here registers its own."""

from importlib import import_module
from pkgutil import iter_modules

from lean3d.models.registry import (
    ModelEntry,
    create_model,
    find_model,
    list_models,
    register_models,
)
from lean3d.models.unet import UNet

__all__ = ["ModelEntry", "UNet", "create_model", "find_model", "list_models", "register_models"]

for module in iter_modules(__path__):
    import_module(f"{__name__}.{module.name}")
