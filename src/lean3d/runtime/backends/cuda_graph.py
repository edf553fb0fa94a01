"""Backend that records the fused network as a CUDA graph: small networks wait for launches."""

import torch
from torch import Tensor

from lean3d.conversion.surgery.copies import duplicate
from lean3d.ops.memory_layout import channels_last as in_channels_last
from lean3d.ops.memory_layout import channels_last_
from lean3d.runtime.captured import Captured
from lean3d.runtime.half import in_single
from lean3d.runtime.source import Runner, Source, Unavailable, register_backend

__all__ = ["cuda_graph"]


@register_backend("cuda_graph", "float32", "bfloat16")
def cuda_graph(source: Source) -> Runner:
    """The fused network, channels-last, launched as a whole; recorded again for a new size."""
    if any(x.device.type != "cuda" for x in source.arguments):
        raise Unavailable("CUDA graphs run on a CUDA device")
    model = channels_last_(duplicate(source.fused))
    half = source.precision != "float32"

    def call(*inputs: Tensor) -> object:
        given = map(in_channels_last, inputs)
        # a cached cast would be freed before the graph runs
        with torch.autocast("cuda", source.dtype, enabled=half, cache_enabled=False):
            return in_single(model(*given)) if half else model(*given)

    return Captured(call)
