"""Backend that compiles the exported graph with torch.compile's inductor, weights frozen."""

import shutil
from typing import Any

import torch
from torch import Tensor

from lean3d.ops.memory_layout import channels_last
from lean3d.runtime.source import Runner, Source, Unavailable, register_backend

__all__ = ["inductor"]

COMPILERS = ("c++", "g++", "clang++")


@register_backend("inductor", "float32", "bfloat16", compiles=True)
def inductor(source: Source) -> Runner:
    """Compiled for the example's sizes; others are compiled when first met."""
    if not any(map(shutil.which, COMPILERS)):
        raise Unavailable(f"inductor needs a C++ compiler: {', '.join(COMPILERS)}")
    from torch._inductor import config

    with config.patch(freezing=True), torch.no_grad():
        compiled: Any = torch.compile(source.graph.program.module(), dynamic=False)
        half = source.precision != "float32"

        def run(*inputs: Tensor) -> object:
            given = map(channels_last, inputs)
            with config.patch(freezing=True), torch.no_grad():
                if not half:
                    return compiled(*given)
                with torch.autocast(inputs[0].device.type, dtype=source.dtype):
                    return compiled(*given)

        run(*source.arguments)
    return run
