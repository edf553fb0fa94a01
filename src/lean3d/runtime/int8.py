"""Graphs whose convolutions compute in int8, their ranges read from a calibration set.

Weights and activations are quantised after training: Jacob et al., "Quantization and Training of
Neural Networks for Efficient Integer-Arithmetic-Only Inference", arXiv:1712.05877. NNCF does it for
OpenVINO, the quantiser of onnxruntime for ONNX.
"""

import contextlib
import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from lean3d.optional import require
from lean3d.runtime.source import Source, needed

__all__ = ["quantised_onnx", "quantised_openvino"]


def quantised_openvino(model: Any, source: Source) -> Any:
    """Return a model of OpenVINO in int8, by NNCF.

    Raises:
        Unavailable: NNCF is not installed.
    """
    with _no_telemetry():
        nncf = needed("nncf", extra="runtimes")
    samples = nncf.Dataset(source.calibration, lambda sample: [_array(x) for x in sample])
    count, fixes = len(source.calibration), nncf.OverflowFix
    fix = fixes.ENABLE if _saturates() else fixes.FIRST_LAYER
    advanced = nncf.AdvancedQuantizationParameters(overflow_fix=fix)
    with _silent("nncf"):
        return nncf.quantize(model, samples, subset_size=count, advanced_parameters=advanced)


def quantised_onnx(model: bytes, source: Source) -> bytes:
    """Return a model of ONNX in int8, by onnxruntime."""
    quantization = require("onnxruntime.quantization", extra="export")
    runtime = require("onnxruntime", extra="export")
    given = runtime.InferenceSession(model, providers=["CPUExecutionProvider"]).get_inputs()
    feeds = iter(
        {one.name: _array(x) for one, x in zip(given, sample, strict=True)}
        for sample in source.calibration
    )

    class Reader(quantization.CalibrationDataReader):  # type: ignore[name-defined]
        def get_next(self) -> dict[str, Any] | None:
            return next(feeds, None)

    with TemporaryDirectory() as folder, _silent(None):
        before, after = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        before.write_bytes(model)
        quantization.quantize_static(
            before,
            after,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            reduce_range=_saturates(),
        )
        return after.read_bytes()


def _saturates() -> bool:
    """Whether sums of two 8-bit products overflow 16 bits: on x86 before VNNI.

    onnxruntime ("Quantize ONNX Models") and NNCF (`OverflowFix`) then take kernels of 7 bits.
    """
    vnni = getattr(torch.cpu, "_is_vnni_supported", lambda: False)
    return torch.backends.cpu.get_cpu_capability().startswith("AVX") and not vnni()


def _array(x: Any) -> Any:
    return x.contiguous().numpy()


@contextlib.contextmanager
def _no_telemetry() -> Iterator[None]:
    """Import NNCF as on a CI server, where it sends nothing."""
    before = os.environ.get("NNCF_CI")
    os.environ["NNCF_CI"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["NNCF_CI"]
        else:
            os.environ["NNCF_CI"] = before


@contextlib.contextmanager
def _silent(name: str | None) -> Iterator[None]:
    """Keep progress bars off standard output, and remarks out of a log; None is the root's."""
    logger, handler = logging.getLogger(name), logging.NullHandler()
    level = logger.level
    logger.setLevel(logging.ERROR)
    # without a handler, a remark to the root would set up one for the whole process
    logger.addHandler(handler)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
