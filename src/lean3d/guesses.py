"""Inputs on which an unknown model may run: the channels it takes, and seeded random tensors.

The conversion guesses images and volumes by these, a stream its frames.
"""

import torch
from torch import Tensor, nn

__all__ = ["device_and_dtype", "likely_channels", "random_input"]

# attributes by which layers say how many channels they take
NAMES = ("in_channels", "num_features", "num_channels", "normalized_shape")


def likely_channels(model: nn.Module, *otherwise: int) -> list[int]:
    """Return the numbers of channels that a model may take, most likely first.

    They are what its first layer says by an attribute, what its first layer with weights for
    channels has, and, in a model without either, what its first linear layer takes.

    Args:
        otherwise: Numbers to try after these.
    """
    modules = list(model.modules())
    said = next(filter(None, map(_said, modules)), [])
    weighted = next(filter(None, map(_weighted, modules)), [])
    linear = [module.in_features for module in modules if isinstance(module, nn.Linear)]
    return list(dict.fromkeys([*(said + weighted or linear[:1]), *otherwise]))


def _said(module: nn.Module) -> list[int]:
    """Return what a layer says by an attribute."""
    given = [getattr(module, name, None) for name in NAMES]
    firsts = [each[0] if isinstance(each, tuple) and each else each for each in given]
    numbers = [each for each in firsts if isinstance(each, int)]
    if next(module.children(), None) is not None:
        # in timm num_features is the channels at the end of a whole network; a norm that holds
        # its activation has weights of its own
        lengths = {len(tensor) for tensor in _own(module) if tensor.ndim == 1}
        numbers = [number for number in numbers if number in lengths]
    return numbers[:1]


def _weighted(module: nn.Module) -> list[int]:
    """Return the channels of which a layer has kernels or vectors of weights."""
    guesses: list[int] = []
    for tensor in _own(module):
        sizes = [size for size in tensor.shape if size > 1]
        if tensor.ndim in (4, 5) and sizes:  # (C', C, k, k), (C, 1, k, k) of a depthwise one
            guesses += [size for size in (tensor.shape[1], tensor.shape[0]) if size > 1]
        elif len(sizes) == 1:
            guesses += sizes
        elif sizes:
            return []
    return guesses


def _own(module: nn.Module) -> list[Tensor]:
    own = (*module.parameters(recurse=False), *module.buffers(recurse=False))
    return [tensor for tensor in own if tensor.is_floating_point()]


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
    device, dtype = device_and_dtype(model, draw)
    if device.type == "meta":  # which has no values
        return torch.empty(shape, device=device, dtype=dtype)
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator, dtype=draw).to(device, dtype)
