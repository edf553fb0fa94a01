"""A backend turns a network into a callable that should give the same output sooner.

A backend is one file with one decorator; `optimize` measures all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.conversion import fold
from lean3d.conversion.trace.compare import tensors
from lean3d.errors import MissingExtraError
from lean3d.optional import require
from lean3d.plugins import Registry
from lean3d.runtime.graph import ExportedGraph, exported

__all__ = [
    "BACKENDS",
    "PRECISIONS",
    "Backend",
    "Runner",
    "Source",
    "Unavailable",
    "needed",
    "register_backend",
    "runtime_on_cpu",
]

Runner = Callable[..., Any]
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int8}


class Unavailable(Exception):  # noqa: N818
    """A backend cannot run this network here; the message says why."""


@dataclass(frozen=True)
class Source:
    """A network in eval mode, its example, and what several backends make of both.

    Args:
        model: A copy of the network, without gradients.
        arguments: The example, a tuple of tensors.
        precision: "float32", "bfloat16" or "int8".
        calibration: For int8, samples of what the network meets, each like `arguments`.
    """

    model: nn.Module
    arguments: tuple[Tensor, ...]
    precision: str
    calibration: tuple[tuple[Tensor, ...], ...] = ()

    @property
    def dtype(self) -> torch.dtype:
        return PRECISIONS[self.precision]

    @classmethod
    def of_graph(
        cls, network: nn.Module, graph: ExportedGraph, arguments: tuple[Tensor, ...], precision: str
    ) -> "Source":
        """Return that of a graph that was loaded, whose batch norms are fused already."""
        source = cls(network, arguments, precision)
        vars(source).update(fused=network, graph=graph)
        return source

    @cached_property
    def fused(self) -> nn.Module:
        """The network with batch norms fused and kernels materialised."""
        return fold(self.model, example=self.arguments)

    @cached_property
    def graph(self) -> ExportedGraph:
        """The fused network as a graph of torch functions, its sizes free where it allows."""
        try:
            return exported(self.fused, self.arguments)
        except Exception:  # the tracer may fail in a user's forward in any way
            # an example thinner than a pool's window is run as no other depth is
            return exported(self.fused, self.arguments, batch_alone=True)

    def outputs(self, run: Runner, sample: tuple[Tensor, ...]) -> list[Tensor]:
        """Return the outputs that say what a precision costs."""
        return tensors(run(*sample))


def needed(name: str, *, extra: str) -> Any:
    """Import a package that a backend runs by.

    Raises:
        Unavailable: it is absent.
    """
    try:
        return require(name, extra=extra)
    except MissingExtraError as error:
        raise Unavailable(f"{name} is not installed") from error


def runtime_on_cpu(source: Source, name: str, *, extra: str) -> Any:
    """Import a runtime that takes networks on a CPU.

    Raises:
        Unavailable: it is absent, or the network is elsewhere.
    """
    runtime = needed(name, extra=extra)
    if any(x.device.type != "cpu" for x in source.arguments):
        raise Unavailable(f"{name} runs here on a CPU only")
    return runtime


Make = Callable[[Source], Runner]
Save = Callable[[Runner, Source, Path], None]
Load = Callable[[Path, Source], Runner]


@dataclass(frozen=True)
class Backend:
    """A way to run a network.

    Args:
        make: Makes a runner of a network, or raises Unavailable.
        precisions: Those it computes in.
        compiles: It takes many seconds to make, and is tried last.
        save: Writes files of a runner into a folder.
        load: Makes a runner of them; without these two it is made of the exported graph.
    """

    make: Make
    precisions: tuple[str, ...]
    compiles: bool
    save: Save | None = None
    load: Load | None = None


BACKENDS: Registry[Backend] = Registry("backend", "lean3d.runtime.backends")


def register_backend(
    name: str,
    *precisions: str,
    compiles: bool = False,
    save: Save | None = None,
    load: Load | None = None,
) -> Callable[[Make], Make]:
    """Register a function that makes a runner, for the precisions it computes in.

    Args:
        precisions: "float32" by default.
        compiles: It takes many seconds to make, and is tried last.
        save: Called with a runner, its source and a folder to write its files into.
        load: Called with that folder and the source; without the two a saved network is made again
            of its exported graph.
    """

    def register(make: Make) -> Make:
        BACKENDS.add(name, Backend(make, precisions or ("float32",), compiles, save, load))
        return make

    return register
