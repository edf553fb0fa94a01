"""A backend turns a network into a callable that should give the same output sooner.

A backend is one file with one decorator; `optimize` measures all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.conversion import fold
from lean3d.plugins import Registry
from lean3d.runtime.graph import ExportedGraph, exported

__all__ = [
    "BACKENDS",
    "PRECISIONS",
    "Backend",
    "Runner",
    "Source",
    "Unavailable",
    "register_backend",
]

Runner = Callable[..., Any]
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Unavailable(Exception):  # noqa: N818
    """A backend cannot run this network here; the message says why."""


@dataclass(frozen=True)
class Source:
    """A network in eval mode, its example, and what several backends make of both.

    Args:
        model: A copy of the network, without gradients.
        arguments: The example, a tuple of tensors.
        precision: "float32" or "bfloat16".
    """

    model: nn.Module
    arguments: tuple[Tensor, ...]
    precision: str

    @property
    def dtype(self) -> torch.dtype:
        return PRECISIONS[self.precision]

    @cached_property
    def fused(self) -> nn.Module:
        """The network with batch norms fused and kernels materialised."""
        return fold(self.model, example=self.arguments)

    @cached_property
    def graph(self) -> ExportedGraph:
        """The fused network as a graph of torch functions, its sizes free where it allows."""
        return exported(self.fused, self.arguments)


Make = Callable[[Source], Runner]


@dataclass(frozen=True)
class Backend:
    """A way to run a network.

    Args:
        make: Makes a runner of a network, or raises Unavailable.
        precisions: Those it computes in.
        compiles: It takes many seconds to make, and is tried last.
    """

    make: Make
    precisions: tuple[str, ...]
    compiles: bool


BACKENDS: Registry[Backend] = Registry("backend", "lean3d.runtime.backends")


def register_backend(name: str, *precisions: str, compiles: bool = False) -> Callable[[Make], Make]:
    """Register a function that makes a runner, for the precisions it computes in.

    Args:
        precisions: "float32" by default.
        compiles: It takes many seconds to make, and is tried last.
    """

    def register(make: Make) -> Make:
        BACKENDS.add(name, Backend(make, precisions or ("float32",), compiles))
        return make

    return register
