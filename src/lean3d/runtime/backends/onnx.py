"""Backend that runs the exported graph in onnxruntime, if it is installed."""

import io
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_unflatten

from lean3d.errors import MissingExtraError
from lean3d.optional import require
from lean3d.runtime.source import Runner, Source, Unavailable, register_backend

__all__ = ["onnxruntime"]


@register_backend("onnxruntime")
def onnxruntime(source: Source) -> Runner:
    """The graph as ONNX in onnxruntime on as many threads as torch uses; only on a CPU."""
    try:
        runtime = require("onnxruntime", extra="export")
        require("onnxscript", extra="export")
    except MissingExtraError as error:
        raise Unavailable("onnxruntime or onnxscript is not installed") from error
    if any(x.device.type != "cpu" for x in source.arguments):
        raise Unavailable("onnxruntime runs here on a CPU only")
    program = source.graph.program
    file = io.BytesIO()
    written: Any = torch.onnx.export(program, dynamo=True, verbose=False)
    written.save(file)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    providers = ["CPUExecutionProvider"]
    session = runtime.InferenceSession(file.getvalue(), options, providers=providers)
    names = [given.name for given in session.get_inputs()]
    spec = program.call_spec.out_spec

    def run(*inputs: Tensor) -> object:
        given = {name: x.contiguous().numpy() for name, x in zip(names, inputs, strict=True)}
        return tree_unflatten([torch.from_numpy(y) for y in session.run(None, given)], spec)

    return run
