"""Backend that compiles the exported graph with torch.compile's inductor, weights frozen."""

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lean3d.ops.memory_layout import channels_last
from lean3d.runtime.half import in_single
from lean3d.runtime.source import Runner, Source, Unavailable, register_backend

__all__ = ["inductor"]

COMPILERS = ("c++", "g++", "clang++")
FILE = "inductor.pt2"


def save(runner: Runner, source: Source, folder: Path) -> None:
    """Compile the graph ahead of time, for the example's sizes, into inductor.pt2."""
    from torch._inductor import aoti_compile_and_package

    given = tuple(map(channels_last, source.arguments))
    module = Half(source) if source.precision != "float32" else source.graph.program.module()
    program = torch.export.export(module, given)
    aoti_compile_and_package(
        program, package_path=str(folder / FILE), inductor_configs={"freezing": True}
    )


def load(folder: Path, source: Source) -> Runner:
    """Load the compiled code, which takes inputs of the example's sizes alone."""
    from torch._inductor import aoti_load_package

    compiled: Any = aoti_load_package(str(folder / FILE))
    wanted = [(x.shape, x.dtype, x.device) for x in source.arguments]

    def run(*inputs: Tensor) -> object:
        if [(x.shape, x.dtype, x.device) for x in inputs] != wanted:
            raise ValueError("compiled for inputs of another size")
        return compiled(*map(channels_last, inputs))

    return run


class Half(torch.nn.Module):
    """The graph under autocast, to be exported with its casts."""

    def __init__(self, source: Source):
        super().__init__()
        self.graph, self.dtype = source.graph.program.module(), source.dtype

    def forward(self, *inputs: Tensor) -> object:
        with torch.autocast(inputs[0].device.type, dtype=self.dtype):
            return in_single(self.graph(*inputs))


@register_backend("inductor", "float32", "bfloat16", compiles=True, save=save, load=load)
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
                    return in_single(compiled(*given))

        run(*source.arguments)
    return run
