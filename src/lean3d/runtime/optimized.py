"""The module that `optimize` returns."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.report import format_table
from lean3d.runtime.source import Runner

__all__ = ["Candidate", "Following", "Optimized", "described", "forget", "headings", "ranked"]

# column -> its heading
NAMES = {
    "backend": "backend",
    "ms": "median ms",
    "ratio": "time / eager",
    "error": "error",
    "rms": "rms error",
    "same": "same class",
    "peak_mib": "peak MiB",
    "note": "note",
}


@dataclass(frozen=True)
class Candidate:
    """What was found of one backend.

    Args:
        backend: Its name.
        ms: Median time of a call, NaN if it was not timed.
        error: Largest difference to the model's output, relative to its largest value.
        peak_mib: Peak memory of a call, above what is held.
        rms: Of int8, on the calibration set: root mean square of the differences to the model's
            outputs, over that of the outputs.
        same: Likewise, the share of samples or voxels whose largest channel is the model's.
        note: Why it was not timed.
    """

    backend: str
    ms: float = float("nan")
    error: float = float("nan")
    peak_mib: float = float("nan")
    rms: float = float("nan")
    same: float = float("nan")
    note: str = ""

    def timed(self, seconds: Sequence[float], peak_mib: float) -> "Candidate":
        return replace(self, ms=1e3 * statistics.median(seconds), peak_mib=peak_mib)

    def noted(self, note: str) -> "Candidate":
        return replace(self, note=note)


def described(x: Tensor) -> dict[str, Any]:
    """Return what an input is like, as plain values."""
    dtype = str(x.dtype).removeprefix("torch.")
    return {"shape": list(x.shape), "dtype": dtype, "device": str(x.device)}


def _places(model: nn.Module) -> list[tuple[int, torch.dtype, torch.device]]:
    """Return where the values of a network lie, and their types."""
    return [(x.data_ptr(), x.dtype, x.device) for x in (*model.parameters(), *model.buffers())]


def forget(module: Any, _: object) -> None:
    """Drop what a backend made of weights, once others are loaded; a hook."""
    module.forget()


class Following(nn.Module):
    """A network beside what a backend made of it, which goes when the network moves."""

    model: nn.Module

    def _apply(self, fn: Any, recurse: bool = True) -> nn.Module:
        """Move the network; if that changes it, the backend's copy of the weights is dropped."""
        before = _places(self.model)
        super()._apply(fn, recurse)
        if _places(self.model) != before:
            self.forget()
        return self

    def forget(self) -> None:
        """Drop what the backend made."""
        raise NotImplementedError


class Optimized(Following):
    """A network that runs by the fastest backend; for inference.

    Inputs of a size, type or device that the backend was not made for, and those given by name, run
    by the network itself. A copy or a pickle holds the network and runs "eager" until it is
    optimised again; so does the network once it is moved, or weights are loaded into it.

    Args:
        model: The network, in eval mode.
        runner: The backend's callable.
        backend: Its name.
        table: All candidates.
        precision: What convolutions are computed in.
        inputs: Of the example: shape, dtype and device of each argument, as plain values.
    """

    def __init__(
        self,
        model: nn.Module,
        runner: Runner,
        backend: str,
        table: tuple[Candidate, ...],
        precision: str,
        inputs: Sequence[dict[str, Any]] = (),
    ):
        super().__init__()
        self.model = model
        # a list, so that a runner that is a module is not registered
        self._runner: list[Runner] = [runner]
        self.backend, self.table, self.precision = backend, table, precision
        self.inputs = list(inputs)
        self.register_load_state_dict_post_hook(forget)

    @property
    def runner(self) -> Runner:
        """The backend's callable, which may refuse an input of another size."""
        return self._runner[0]

    @torch.no_grad()
    def forward(self, *inputs: Any, **named: Any) -> Any:
        if named or not self._takes(inputs):
            return self.model(*inputs, **named)
        try:
            return self.runner(*inputs)
        except Exception:  # made for other sizes; an error of the network's own is raised below
            return self.model(*inputs)

    def _takes(self, inputs: Sequence[Any]) -> bool:
        """Whether the inputs are of the types, and on the devices, of the example."""
        given = [described(x) if isinstance(x, Tensor) else {} for x in inputs]
        return all(
            own.get(key) == one[key]
            for own, one in zip(given, self.inputs, strict=False)
            for key in ("dtype", "device")
        )

    def train(self, mode: bool = True) -> "Optimized":
        """Stay in eval mode."""
        return super().train(False)

    def forget(self) -> None:
        """Run the network itself from here on; its weights changed."""
        self._runner, self.backend, self.inputs = [self.model], "eager", []

    def __getstate__(self) -> dict[str, Any]:
        # compiled code and packed weights cannot be copied
        return self.__dict__ | {"_runner": [self.model], "backend": "eager"}

    def rows(self) -> list[dict[str, Any]]:
        """Return the candidates as plain values, the fastest first."""
        return ranked(self.table)

    def report(self, width: int | None = None) -> str:
        """Return the candidates as a table of at most `width` characters a line."""
        return format_table(self.rows(), headings(self.table), width=width)


def headings(table: Sequence[Candidate]) -> dict[str, str]:
    """Return the columns of a table; what int8 costs is shown where it was measured."""
    costs = any(row.rms == row.rms for row in table)
    return {key: name for key, name in NAMES.items() if costs or key not in ("rms", "same")}


def ranked(table: Sequence[Candidate]) -> list[dict[str, Any]]:
    """Return candidates as plain values, the fastest first."""
    timed = sorted(table, key=lambda row: (row.ms != row.ms, row.ms))
    eager = next(row.ms for row in table if row.backend == "eager")
    return [{**asdict(row), "ratio": row.ms / eager} for row in timed]
