"""Backend that runs the exported graph in onnxruntime, if it is installed."""

import io
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_unflatten

from lean3d.runtime.int8 import quantised_onnx
from lean3d.runtime.source import Runner, Source, needed, register_backend, runtime_on_cpu

__all__ = ["onnxruntime"]

FILE = "network.onnx"
_runtime = partial(runtime_on_cpu, name="onnxruntime", extra="export")


class Session:
    """A model of ONNX in onnxruntime, on as many threads as torch uses."""

    def __init__(self, model: bytes, source: Source):
        self.model, self.spec = model, source.graph.program.call_spec.out_spec
        runtime = _runtime(source)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        providers = ["CPUExecutionProvider"]
        self.session = runtime.InferenceSession(model, options, providers=providers)
        self.names = [given.name for given in self.session.get_inputs()]

    def __call__(self, *inputs: Tensor) -> object:
        given = {n: x.contiguous().numpy() for n, x in zip(self.names, inputs, strict=True)}
        found = [torch.from_numpy(y) for y in self.session.run(None, given)]
        return tree_unflatten(found, self.spec)


def save(runner: Any, source: Source, folder: Path) -> None:
    (folder / FILE).write_bytes(runner.model)


def load(folder: Path, source: Source) -> Runner:
    return Session((folder / FILE).read_bytes(), source)


@register_backend("onnxruntime", "float32", "int8", save=save, load=load)
def onnxruntime(source: Source) -> Runner:
    """The graph as ONNX in onnxruntime; only on a CPU."""
    _runtime(source)
    needed("onnxscript", extra="export")
    file = io.BytesIO()
    written: Any = torch.onnx.export(source.graph.program, dynamo=True, verbose=False)
    written.save(file)
    model = file.getvalue()
    if source.precision == "int8":
        model = quantised_onnx(model, source)
    return Session(model, source)
