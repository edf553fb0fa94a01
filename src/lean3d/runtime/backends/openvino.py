"""Backend that runs the exported graph in OpenVINO, if it is installed."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_unflatten

from lean3d.runtime.int8 import quantised_openvino
from lean3d.runtime.source import Runner, Source, register_backend, runtime_on_cpu

__all__ = ["openvino"]

# what int8 does not cover is computed in single precision
PRECISION = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}
FILE = "openvino.xml"
_runtime = partial(runtime_on_cpu, name="openvino", extra="runtimes")


class Compiled:
    """A model of OpenVINO, compiled for this machine on as many threads as torch uses."""

    def __init__(self, model: Any, source: Source):
        self.model, self.spec = model, source.graph.program.call_spec.out_spec
        settings = {
            "INFERENCE_PRECISION_HINT": PRECISION[source.precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        compiled = _runtime(source).Core().compile_model(model, "CPU", settings)
        self.request = compiled.create_infer_request
        self.shapes = [_sizes(output) for output in model.outputs]

    def __call__(self, *inputs: Tensor) -> object:
        given = [x.contiguous().numpy() for x in inputs]
        # a request of its own for each call, so that threads do not share its outputs
        results = self.request().infer(given, share_inputs=True)
        found = [_shaped(results[i], shape) for i, shape in enumerate(self.shapes)]
        return tree_unflatten(found, self.spec)


def _sizes(output: Any) -> list[int] | None:
    """Return the sizes that the graph declares of an output, -1 where one is free."""
    sizes = output.get_partial_shape()
    if sizes.rank.is_dynamic or sum(size.is_dynamic for size in sizes) > 1:
        return None
    return [-1 if size.is_dynamic else size.get_length() for size in sizes]


def _shaped(result: Any, shape: list[int] | None) -> Tensor:
    """Return an output; in int8, OpenVINO 2026.4 keeps an axis of size 1 that was selected."""
    y = torch.from_numpy(result)
    return y if shape is None or y.ndim == len(shape) else y.reshape(shape)


def save(runner: Any, source: Source, folder: Path) -> None:
    """Write openvino.xml and openvino.bin, the model before it is compiled, in its precision."""
    _runtime(source).save_model(runner.model, folder / FILE, compress_to_fp16=False)


def load(folder: Path, source: Source) -> Runner:
    return Compiled(_runtime(source).Core().read_model(folder / FILE), source)


@register_backend("openvino", "float32", "bfloat16", "int8", save=save, load=load)
def openvino(source: Source) -> Runner:
    """The graph in OpenVINO; only on a CPU."""
    model = _runtime(source).convert_model(source.graph.program)
    if source.precision == "int8":
        model = quantised_openvino(model, source)
    return Compiled(model, source)
