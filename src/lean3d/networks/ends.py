"""Other input channels and classes for a network whose function does not take them."""

from torch import nn

from lean3d.conversion.quiet import quietly
from lean3d.conversion.to3d.io_channels import with_ends as with_2d_ends
from lean3d.conversion.to3d.num_classes import find_heads
from lean3d.conversion.to3d.proof.reference import make_reference
from lean3d.errors import ConversionError, RunError
from lean3d.networks import deep_ends

__all__ = ["with_ends"]


def with_ends(
    model: nn.Module, who: str, in_channels: int | None = None, num_classes: int | None = None
) -> nn.Module:
    """Return the network with these numbers, if it does not have them.

    Raises:
        RunError: it does more with its image than convolve it, or its head is unusual.
    """
    first = next((m for m in model.modules() if isinstance(m, nn.modules.conv._ConvNd)), None)
    if first is None or first.in_channels == in_channels:
        in_channels = None
    flat = any(isinstance(module, nn.Conv2d) for module in model.modules())
    if not flat:
        if in_channels is not None:
            model = deep_ends.with_channels(model, who, in_channels)
        return model if num_classes is None else deep_ends.with_classes(model, who, num_classes)
    try:
        if in_channels is not None:
            model, _ = with_2d_ends(model, in_channels, None, None)
        if num_classes is not None and _classes(model, num_classes) != num_classes:
            model, _ = with_2d_ends(model, None, num_classes, None)
    except ConversionError as error:
        raise RunError(f"{who}: {error}") from error
    return model


def _classes(model: nn.Module, num_classes: int) -> int:
    with quietly():
        return find_heads(make_reference(model, None), num_classes)[1]
