"""Other input channels and classes for a 3D network whose function does not take them.

Axes: B batch, C channels, D depth, H height, W width.
"""

from typing import Any

import torch
from torch import Tensor, nn

from lean3d.conversion.quiet import OwnRandomNumbers, quietly
from lean3d.conversion.surgery.copies import duplicate
from lean3d.conversion.to3d.channel_flow import is_plain, set_counts
from lean3d.conversion.to3d.in_channels import deal
from lean3d.conversion.trace.compare import difference
from lean3d.conversion.trace.inputs_3d import example_for, run
from lean3d.errors import RunError

__all__ = ["with_channels", "with_classes"]

# largest relative error of a gray volume's output
GRAY = 1e-3
INPUTS, OUTPUTS = ("in_channels", "in_chans"), ("out_features", "out_channels", "num_classes")


def with_channels(model: nn.Module, who: str, channels: int) -> nn.Module:
    """Return a copy with other input channels, over which its first kernel is distributed.

    A volume with equal channels gives the same output as before.

    Raises:
        RunError: the network does more with its channels than convolve them.
    """
    convs = [(path, m) for path, m in model.named_modules() if isinstance(m, nn.Conv3d)]
    path, conv = convs[0] if convs else ("", None)
    before = conv.in_channels if conv is not None else 0
    result, volume = duplicate(model), _volume(model)
    if conv is not None and volume is not None and is_plain(conv, nn.Conv3d):
        new: Any = result.get_submodule(path)
        share = deal(before, channels).to(conv.weight)
        weight = torch.einsum("oc...,nc->on...", conv.weight.detach(), share)
        new.weight = nn.Parameter(weight, requires_grad=conv.weight.requires_grad)
        new.in_channels = channels
        set_counts(result, path, INPUTS, before, channels)
        gray = volume.mean(1, keepdim=True)
        old = _run(model, gray.expand(-1, volume.shape[1], -1, -1, -1))
        now = _run(result, gray.expand(-1, channels, -1, -1, -1))
        if old is not None and now is not None and difference(old, now, 2) <= GRAY:
            return result
    raise RunError(
        f"{who} takes {before} channels and not {channels}, and does more with them than convolve "
        "them in its first layer; build it with an argument in_channels"
    )


def with_classes(model: nn.Module, who: str, num_classes: int) -> nn.Module:
    """Return a copy whose last layer gives other outputs and is re-initialised.

    Returns:
        The model itself if it gives them already, or cannot be run on a volume found for it.

    Raises:
        RunError: no last layer gives the network's outputs.
    """
    volume = _volume(model)
    found = None if volume is None else _run(model, volume)
    if found is None or found.ndim < 2 or found.shape[1] == num_classes:
        return model
    before, result = found.shape[1], duplicate(model)
    layers = [(path, m) for path, m in model.named_modules() if _outputs(m) is not None]
    path, last = layers[-1] if layers else ("", nn.Identity())
    if _outputs(last) == before and is_plain(last, nn.Linear, nn.Conv3d):
        new: Any = result.get_submodule(path)
        new.weight = nn.Parameter(new.weight.new_empty(num_classes, *new.weight.shape[1:]))
        if new.bias is not None:
            new.bias = nn.Parameter(new.bias.new_empty(num_classes))
        set_counts(result, path, OUTPUTS, before, num_classes)
        new.reset_parameters()
        assert volume is not None
        now = _run(result, volume)
        if now is not None and now.shape[1] == num_classes:
            return result
    raise RunError(
        f"{who} has {before} outputs and not {num_classes}, which are not those of a last linear "
        "layer or convolution; build it with an argument num_classes"
    )


def _outputs(module: nn.Module) -> int | None:
    """Return the outputs of a layer with weights."""
    if not isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
        return None
    return getattr(module, "out_features", getattr(module, "out_channels", None))


def _volume(model: nn.Module) -> Tensor | None:
    with quietly(), OwnRandomNumbers():
        found = example_for(model, None)
    return None if found is None else found[0]


def _run(model: nn.Module, volume_BCDHW: Tensor) -> Tensor | None:
    """Return the output, if it is a tensor."""
    try:
        with quietly(), OwnRandomNumbers():
            found = run(model, (volume_BCDHW,))
    except Exception:  # a user's forward may raise anything
        return None
    return found if isinstance(found, Tensor) else None
