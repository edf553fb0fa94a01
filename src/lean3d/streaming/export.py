"""Export a step as a file: the state is an input and an output, so that any runtime can keep it.

Axes: B batch (streams), C channels, T time, H height, W width.
"""

import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from lean3d.errors import LeanError
from lean3d.files import write_whole
from lean3d.optional import require
from lean3d.streaming.session import Stream
from lean3d.typed import check_kind

__all__ = ["SUFFIXES", "Exported", "compare_export", "export_step", "quiet", "save_program"]

SUFFIXES = (".pt2", ".onnx")


@dataclass(frozen=True)
class Exported:
    """The inputs and outputs of the file.

    Args:
        inputs, outputs: Names in the ONNX graph, in order; the frames and the output come first,
            then the state by its keys.
        state: Keys of the state, in the order of those names.
    """

    path: Path
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    state: tuple[str, ...]


def export_step(live: Stream, path: str | Path, *, height: int, width: int) -> Exported:
    """Write one step, (frames, state) -> (output, next state), for any number of streams.

    Args:
        path: Ends in .pt2 for torch.export, in .onnx for ONNX.

    Shape: frames (B, C, T, H, W) with T = `live.chunk` and the given size; B is free.

    Raises:
        LeanError: another suffix, or the graph cannot be written.
    """
    check_kind("export_step", live, Stream, "what stream(model) returns")
    check_kind("export_step", path, str | Path, "the path of a file")
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise LeanError(f"export writes {' and '.join(SUFFIXES)}, got {path.name}")
    # two streams: the exporter would make a batch of one a constant
    state = live.init(2, height=height, width=width)
    frames = torch.zeros_like(next(live.parameters())).new_zeros(
        2, live.found.frame[0], live.chunk, height, width
    )
    program = _program(live, frames, state)
    inputs = ("frames", *(f"state.{key}" for key in state))
    outputs = ("output", *(f"next.{key}" for key in state))
    save_program(program, path, inputs, outputs)
    return Exported(path, inputs, outputs, tuple(state))


def save_program(
    program: torch.export.ExportedProgram,
    path: Path,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write an exported program atomically: .pt2 for torch.export, .onnx for ONNX.

    Args:
        inputs, outputs: Names in the ONNX graph.
        notes: Texts kept in the file: extra files of a .pt2, metadata of ONNX.
    """
    with write_whole(path) as temporary:
        if path.suffix == ".pt2":
            # into memory first: on a full disk torch's own writer ends the process
            buffer = io.BytesIO()
            _without_values(program)
            torch.export.save(program, buffer, extra_files=dict(notes or {}))
            temporary.write_bytes(buffer.getbuffer())
        else:
            _save_onnx(program, temporary, inputs, outputs, notes or {})


def _without_values(program: torch.export.ExportedProgram) -> None:
    """Make the sample inputs zeros that take a few bytes: a file keeps the storages of them."""

    def zeros(x: Any) -> Any:
        return x.new_zeros(()).expand(x.shape) if isinstance(x, Tensor) else x

    program.example_inputs = tree_map(zeros, program.example_inputs)


def _program(
    live: Stream, frames: Tensor, state: dict[str, Tensor]
) -> torch.export.ExportedProgram:
    streams = torch.export.Dim("streams", min=1, max=4096)
    free = ({0: streams}, {key: {0: streams} for key in state})
    try:
        with torch.no_grad(), quiet():
            return torch.export.export(live, (frames, state), dynamic_shapes=free, strict=False)
    except LeanError:
        raise
    except Exception as error:  # the tracer may fail in a user's forward in any way
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise LeanError(f"{type(live.model).__name__} cannot be exported: {why}") from error


def _save_onnx(
    program: torch.export.ExportedProgram,
    path: Path,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    notes: Mapping[str, str],
) -> None:
    for package in ("onnx", "onnxscript"):
        require(package, extra="export")
    names: Any = dict(input_names=list(inputs), output_names=list(outputs))
    with quiet():
        # a program, because a trailing dict would be passed as keyword arguments
        written: Any = torch.onnx.export(program, dynamo=True, verbose=False, **names)
    written.model.metadata_props.update(notes)
    written.save(path)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporters' messages about their internals."""
    least = dict.fromkeys(("torch.onnx", "onnxscript", "onnx_ir"), logging.ERROR)
    # of what is raised anyway
    least["torch._subclasses.fake_tensor"] = logging.CRITICAL
    loggers = [logging.getLogger(name) for name in least]
    levels = [logger.level for logger in loggers]
    for logger, level in zip(loggers, least.values(), strict=True):
        logger.setLevel(level)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@torch.no_grad()
def compare_export(live: Stream, exported: Exported, frames: Tensor, steps: int) -> float:
    """Return the largest difference between the outputs of the file and of `live`, on random steps.

    Args:
        frames: (B, C, T, H, W), a step's shape.
    """
    *_, height, width = frames.shape
    run = _runner(exported)
    state = other = live.init(len(frames), height=height, width=width)
    largest = 0.0
    for number in range(steps):
        draw = torch.Generator().manual_seed(number)
        x_BCTHW = torch.randn(frames.shape, generator=draw)
        # a forward may write into its input
        answer, state = live.step(x_BCTHW.clone(), state)
        found, other = run(x_BCTHW, other)
        # a delayed network has no output at first
        if (found.isnan() != answer.isnan()).any():
            return torch.inf
        gap = (found - answer).nan_to_num().abs().max()
        largest = max(largest, float(gap))
    return largest


def _runner(exported: Exported) -> Any:
    if exported.path.suffix == ".pt2":
        with quiet():
            return torch.export.load(exported.path).module()
    runtime = require("onnxruntime", extra="export")
    session = runtime.InferenceSession(str(exported.path), providers=["CPUExecutionProvider"])
    # the graph has no input for what it does not read, such as a count that only grows
    taken = {given.name for given in session.get_inputs()}

    def run(frames: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        given = zip(exported.inputs, [frames, *state.values()], strict=True)
        feed = {name: x.numpy() for name, x in given if name in taken}
        output, *rest = map(torch.from_numpy, session.run(list(exported.outputs), feed))
        return output, dict(zip(exported.state, rest, strict=True))

    return run
