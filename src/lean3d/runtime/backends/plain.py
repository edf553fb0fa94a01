"""Backends that run the network's own modules: as they are, fused, in another memory layout."""

import torch
from torch import Tensor

from lean3d.conversion.surgery.copies import duplicate
from lean3d.ops.memory_layout import channels_last as in_channels_last
from lean3d.ops.memory_layout import channels_last_
from lean3d.runtime.half import in_single
from lean3d.runtime.source import Runner, Source, register_backend


@register_backend("eager")
def eager(source: Source) -> Runner:
    return source.model


@register_backend("fused")
def fused(source: Source) -> Runner:
    return source.fused


@register_backend("channels_last")
def channels_last(source: Source) -> Runner:
    """The fused network, the channels of a voxel contiguous in weights and activations."""
    model = channels_last_(duplicate(source.fused))
    return lambda *inputs: model(*map(in_channels_last, inputs))


@register_backend("autocast", "bfloat16")
def autocast(source: Source) -> Runner:
    """Layers that torch.autocast lists in half precision, the others in single."""
    model = channels_last_(duplicate(source.fused))

    def run(*inputs: Tensor) -> object:
        with torch.autocast(inputs[0].device.type, dtype=torch.bfloat16):
            return in_single(model(*map(in_channels_last, inputs)))

    return run
