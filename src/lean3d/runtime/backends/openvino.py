"""Backend that runs the exported graph in OpenVINO, if it is installed."""

import torch
from torch import Tensor
from torch.utils._pytree import tree_unflatten

from lean3d.errors import MissingExtraError
from lean3d.optional import require
from lean3d.runtime.source import Runner, Source, Unavailable, register_backend

__all__ = ["openvino"]

PRECISION = {"float32": "f32", "bfloat16": "bf16"}


@register_backend("openvino", "float32", "bfloat16")
def openvino(source: Source) -> Runner:
    """The graph in OpenVINO on as many threads as torch uses; only on a CPU."""
    try:
        runtime = require("openvino", extra="runtimes")
    except MissingExtraError as error:
        raise Unavailable("openvino is not installed") from error
    if any(x.device.type != "cpu" for x in source.arguments):
        raise Unavailable("OpenVINO runs here on a CPU only")
    program = source.graph.program
    core = runtime.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": PRECISION[source.precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = core.compile_model(runtime.convert_model(program), "CPU", settings)
    spec = program.call_spec.out_spec
    request = compiled.create_infer_request

    def run(*inputs: Tensor) -> object:
        given = [x.contiguous().numpy() for x in inputs]
        # a request of its own for each call, so that threads do not share its outputs
        results = request().infer(given, share_inputs=True)
        found = [torch.from_numpy(results[i]) for i in range(len(results))]
        return tree_unflatten(found, spec)

    return run
