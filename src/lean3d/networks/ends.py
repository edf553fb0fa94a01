"""Other input channels and classes for a network whose function does not take them."""

from torch import nn

from lean3d.conversion.quiet import quietly
from lean3d.conversion.to3d.io_channels import with_ends as with_2d_ends
from lean3d.conversion.to3d.num_classes import find_heads
from lean3d.conversion.to3d.proof.reference import make_reference
from lean3d.errors import ConversionError, RunError

__all__ = ["with_ends"]


def with_ends(
    model: nn.Module, who: str, in_channels: int | None = None, num_classes: int | None = None
) -> nn.Module:
    """Return the network with these numbers, if it does not have them.

    Raises:
        RunError: it is 3D, or does more with its image than convolve it, or its head is unusual.
    """
    first = next((m for m in model.modules() if isinstance(m, nn.modules.conv._ConvNd)), None)
    if first is None or first.in_channels == in_channels:
        in_channels = None
    flat = any(isinstance(module, nn.Conv2d) for module in model.modules())
    if in_channels is not None and not flat:
        assert first is not None
        raise RunError(
            f"{who} takes {first.in_channels} channels and not {in_channels}, and only those of a "
            "2D network are changed; build it with an argument in_channels"
        )
    try:
        if in_channels is not None:
            model, _ = with_2d_ends(model, in_channels, None, None)
        if num_classes is not None and flat and _classes(model, num_classes) != num_classes:
            model, _ = with_2d_ends(model, None, num_classes, None)
    except ConversionError as error:
        raise RunError(f"{who}: {error}") from error
    return model


def _classes(model: nn.Module, num_classes: int) -> int:
    with quietly():
        return find_heads(make_reference(model, None), num_classes)[1]
