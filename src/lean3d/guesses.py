"""Inputs on which an unknown model may run: the channels it takes, and seeded random tensors.

The conversion guesses images and volumes by these, a stream its frames.
"""

import torch
from torch import Tensor, nn

__all__ = ["device_and_dtype", "likely_channels", "random_input"]

# attributes by which layers say how many channels they take
NAMES = ("in_channels", "num_features", "num_channels")


def likely_channels(model: nn.Module, *otherwise: int) -> list[int]:
    """Return the numbers of channels that a model may take, most likely first.

    Args:
        otherwise: Numbers to try after that of its first layer.
    """
    first: list[int] = []
    for module in model.modules():
        if next(module.children(), None) is not None:
            continue  # in timm num_features is the channels at the end of a whole network
        given = [getattr(module, name, None) for name in NAMES]
        first = [channels for channels in given if isinstance(channels, int)][:1]
        if first:
            break
    return list(dict.fromkeys([*first, *otherwise]))


def device_and_dtype(
    model: nn.Module, otherwise: torch.dtype = torch.float32
) -> tuple[torch.device, torch.dtype]:
    """Return those of a model's first parameter, or else buffer, of floating point."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            return tensor.device, tensor.dtype
    return torch.device("cpu"), otherwise


def random_input(
    model: nn.Module, shape: tuple[int, ...], *, draw: torch.dtype = torch.float32
) -> Tensor:
    """Return normal random values from seed 0 in the model's precision.

    Args:
        draw: The precision in which they are drawn, and that of a model without parameters.
    """
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(shape, generator=generator, dtype=draw)
    return values.to(*device_and_dtype(model, draw))
