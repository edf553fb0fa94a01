"""What `optimize` found, kept in a folder that another process loads at once.

The folder holds the network as a graph (network.pt2), which needs none of the code that built it,
what the backend made of it, if it can be written, and optimized.json with all that was measured.
That of a stream holds the stream (stream.pt), which needs the code of its network, in place of it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.conversion.trace.compare import tensors
from lean3d.conversion.trace.tree import copies
from lean3d.cost.machine import hardware
from lean3d.errors import LeanError
from lean3d.files import write_whole
from lean3d.runtime.graph import ExportedGraph
from lean3d.runtime.optimized import Candidate, Optimized
from lean3d.runtime.source import BACKENDS, PRECISIONS, Runner, Source, Unavailable
from lean3d.runtime.step import OptimizedStream, due_apart
from lean3d.runtime.step_network import StepNetwork, StepSource
from lean3d.streaming import Stream
from lean3d.streaming.export import quiet

__all__ = ["load_optimized", "save_optimized"]

FORMAT = 1
RECORD, NETWORK, STREAM = "optimized.json", "network.pt2", "stream.pt"
# largest difference between the outputs of the folder and those of what was saved
ALLOWED = {"float32": 1e-5, "bfloat16": 1e-2, "int8": 1e-2}


@torch.no_grad()
def save_optimized(fast: Optimized | OptimizedStream, folder: str | Path) -> Path:
    """Write what `optimize` returned to a new folder, and check that what it loads is equal.

    A network that runs by inductor is compiled once more, ahead of time, which takes a minute.

    Raises:
        LeanError: the network cannot be exported as a graph, or the folder gives other outputs;
            nothing is written then.
    """
    folder = Path(folder)
    if not isinstance(fast, Optimized | OptimizedStream):
        raise LeanError(f"save_optimized takes what optimize returns, got {type(fast).__name__}")
    if not fast.inputs:
        raise LeanError(f"{folder} was not written: the network was moved since; optimise it again")
    if folder.exists():
        raise LeanError(f"{folder} exists; give the name of a new folder")
    source = _source(fast, fast.inputs)
    arguments = source.arguments
    with write_whole(folder) as temporary:
        temporary.unlink()
        temporary.mkdir()
        _write(fast, source, temporary)
        loaded = load_optimized(temporary)
        apart = _apart(fast, loaded, arguments)
        if not apart <= ALLOWED[fast.precision]:
            raise LeanError(
                f"{folder} was not written: loaded again, {fast.backend} would differ by "
                f"{apart:.1e}; name other backends"
            )
    return folder


def load_optimized(folder: str | Path) -> Optimized | OptimizedStream:
    """Return the optimised network or stream of a folder, run by the backend chosen for it.

    Nothing is measured. Load only what you trust: a stream is a pickle, a network of inductor is
    compiled code. Sizes that the graph does not leave free are refused by it; a stream takes them.

    Raises:
        LeanError: it is no such folder, its backend does not run here, or it was compiled for
            another processor or torch.
    """
    folder = Path(folder)
    record = _read(folder)
    inputs, precision = record["inputs"], record["precision"]
    backend, table = record["backend"], tuple(Candidate(**row) for row in record["candidates"])
    if "keys" in record:
        live = OptimizedStream(_stream(folder), keys=record["keys"], precision=precision)
        runner = _runner(folder, record, _source(live, inputs))
        return OptimizedStream(live, runner, live.keys, backend, table, precision, inputs)
    program = _program(folder)
    graph = ExportedGraph(program)
    network = Network(program.module())
    source = Source.of_graph(network, graph, tuple(map(_noise, inputs)), precision)
    runner = _runner(folder, record, source)
    return Optimized(network, runner, backend, table, precision, inputs)


def _program(folder: Path) -> torch.export.ExportedProgram:
    try:
        with quiet():
            return torch.export.load(folder / NETWORK)
    except Exception as error:  # a damaged file may fail in any way
        why = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        raise LeanError(f"cannot read {folder / NETWORK}: {why[:200]}") from error


def _source(fast: Optimized | OptimizedStream, inputs: Sequence[Mapping[str, Any]]) -> Source:
    """Return the network of a result, with inputs like its example; of a stream with a state."""
    first, *values = map(_noise, inputs)
    if isinstance(fast, Optimized):
        return Source(fast.model, (first, *values), fast.precision)
    network = StepNetwork(fast, fast.keys, careful=True)
    size = dict(channels=first.shape[1], height=first.shape[-2], width=first.shape[-1])
    blank = fast.init(len(first), **size)
    _, state = Stream.step(fast, first, blank)
    return StepSource(network, (first, *(state[key] for key in fast.keys)), fast.precision)


def _stream(folder: Path) -> Stream:
    try:
        live = torch.load(folder / STREAM, map_location="cpu", weights_only=False)
    except Exception as error:  # a pickle may fail in any way
        why = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        raise LeanError(f"cannot read {folder / STREAM}: {why[:200]}") from error
    if not isinstance(live, Stream):
        raise LeanError(f"{folder / STREAM} holds no stream")
    return live


class Network(nn.Module):
    """An exported graph as a network; it is in eval mode, and stays so."""

    def __init__(self, graph: nn.Module):
        super().__init__()
        self.graph = graph
        self.training = False

    def forward(self, *inputs: Any) -> Any:
        return self.graph(*inputs)

    def train(self, mode: bool = True) -> "Network":
        """Stay in eval mode; the graph itself refuses to be set to any."""
        return self


def _write(fast: Optimized | OptimizedStream, source: Source, folder: Path) -> None:
    if isinstance(fast, OptimizedStream):
        torch.save(Stream(fast.model, fast.way, fast.found), folder / STREAM)
    else:
        _save_graph(fast, source, folder)
    save = BACKENDS[fast.backend].save
    if save is not None:
        with quiet():
            save(fast.runner, source, folder)
    record: dict[str, Any] = {
        "format": FORMAT,
        "backend": fast.backend,
        "precision": fast.precision,
        "inputs": list(fast.inputs),
        "torch": torch.__version__,
        "hardware": hardware(),
        "threads": torch.get_num_threads(),
        "candidates": [asdict(row) for row in fast.table],
    }
    if isinstance(fast, OptimizedStream):
        record["keys"] = list(fast.keys)
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _save_graph(fast: Optimized, source: Source, folder: Path) -> None:
    try:
        with quiet():
            program = source.graph.program
            torch.export.save(program, folder / NETWORK)
    except Exception as error:  # the tracer may fail in a user's forward in any way
        why = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        raise LeanError(
            f"{type(fast.model).__name__} cannot be saved as a graph: {why[:200]}; keep the choice "
            "by optimize(choices=...) in place of the result"
        ) from error


def _read(folder: Path) -> dict[str, Any]:
    damaged = LeanError(f"{folder} is no folder of an optimised network, see lean3d export")
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        names = {field.name for field in fields(Candidate)}
        fits = (
            record["format"] == FORMAT
            and record["precision"] in PRECISIONS
            and all(row.keys() <= names for row in record["candidates"])
            and all(type(key) is str for key in record.get("keys", []))
            and all(_noise(x | {"device": "meta"}) is not None for x in record["inputs"])
        )
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError):
        raise damaged from None
    if not fits or not isinstance(record["backend"], str):
        raise damaged
    return dict(record)


def _runner(folder: Path, record: Mapping[str, Any], source: Source) -> Runner:
    backend = BACKENDS.find(record["backend"])
    own = {"torch": torch.__version__, "hardware": hardware()}
    if backend.compiles and any(record[name] != here for name, here in own.items()):
        raise LeanError(
            f"{folder} holds code compiled for {record['hardware']}, torch {record['torch']}; this "
            f"is {own['hardware']}, torch {own['torch']}: export it here"
        )
    try:
        with quiet(), torch.no_grad():
            if backend.load is not None:
                return backend.load(folder, source)
            return backend.make(source)
    except Unavailable as reason:
        raise LeanError(f"{folder} runs by {record['backend']}: {reason}") from reason


def _apart(
    fast: Optimized | OptimizedStream,
    loaded: Optimized | OptimizedStream,
    arguments: tuple[Tensor, ...],
) -> float:
    wanted = tensors(fast.runner(*copies(arguments)))
    try:
        found = tensors(loaded.runner(*copies(arguments)))
    except Exception:  # a backend may refuse the graph where it took the network
        return float("inf")
    return due_apart(found, wanted)


def _noise(given: Mapping[str, Any]) -> Tensor:
    """Return an input like the described one."""
    return torch.randn(given["shape"], device=given["device"]).to(getattr(torch, given["dtype"]))
