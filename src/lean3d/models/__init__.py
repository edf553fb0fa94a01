"""Networks that take the operator as an argument."""

from lean3d.models.mobilenet import MobileNetV1, MobileNetV2
from lean3d.models.registry import (
    ModelEntry,
    create_model,
    find_model,
    list_models,
    register_models,
)
from lean3d.models.shufflenet import ShuffleNetV1, ShuffleNetV2
from lean3d.models.squeezenet import SqueezeNet
from lean3d.models.unet import UNet
from lean3d.models.x3d import X3D

__all__ = [
    "X3D",
    "MobileNetV1",
    "MobileNetV2",
    "ModelEntry",
    "ShuffleNetV1",
    "ShuffleNetV2",
    "SqueezeNet",
    "UNet",
    "create_model",
    "find_model",
    "list_models",
    "register_models",
]
