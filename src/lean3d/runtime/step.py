"""The fastest equal step of a stream, found by measuring.

Axes: B batch (streams), C channels, T time, H height, W width.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lean3d.conversion import fold
from lean3d.conversion.tolerance import largest
from lean3d.conversion.trace.compare import tensors
from lean3d.cost.latency import interleaved, peak_mib
from lean3d.errors import LeanError
from lean3d.ops.fast import planes_by
from lean3d.report import format_table
from lean3d.runtime.captured import Captured
from lean3d.runtime.optimized import Candidate, headings, ranked
from lean3d.runtime.packed_planes import PackedPlanes
from lean3d.streaming import Stream
from lean3d.streaming import stream as to_stream
from lean3d.streaming.state import State

__all__ = ["OptimizedStream", "fused", "optimize_step"]

WAYS = ("eager", "fused", "onednn", "cuda_graph")
# steps that are compared and, at most, timed
STEPS, ROUNDS = 4, 15
# of the clip on which the fused network is compared, at least
FRAMES = 16


class OptimizedStream(Stream):
    """A stream whose steps run by the fastest way; it takes and returns the same states.

    Args:
        live: The stream it equals.
        backend: "eager", "fused", "onednn" or "cuda_graph".
        table: All candidates.
    """

    def __init__(self, live: Stream, backend: str, table: tuple[Candidate, ...] = ()):
        super().__init__(live.model, live.way, live.found)
        self.backend, self.table = backend, table
        # a list, so that it is not registered; a recording cannot be copied
        self._whole = [Captured(self._recorded)] if backend == "cuda_graph" else []
        self._packed = PackedPlanes() if backend == "onednn" else None

    def _advance(
        self, x_BCTHW: Tensor, state: Mapping[str, Tensor], slots: Sequence[str], *, careful: bool
    ) -> tuple[Any, State]:
        if self._whole and careful:
            output, new = self._whole[0](x_BCTHW, dict(state))
            return output, new
        with planes_by(self._packed):
            return super()._advance(x_BCTHW, state, slots, careful=careful)

    def _recorded(self, x_BCTHW: Tensor, state: State) -> tuple[Any, State]:
        size = x_BCTHW.shape[1:2] + x_BCTHW.shape[3:]
        return super()._advance(x_BCTHW, state, self._plan(size).slots, careful=False)

    def __getstate__(self) -> dict[str, Any]:
        again = [True] if self._whole else []
        return self.__dict__ | {"_whole": again}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._whole = [Captured(self._recorded)] if state["_whole"] else []

    def rows(self) -> list[dict[str, Any]]:
        """Return the candidates as plain values, the fastest first."""
        return ranked(self.table)

    def report(self, width: int | None = None) -> str:
        """Return the candidates as a table of at most `width` characters a line."""
        return format_table(self.rows(), headings(self.table), width=width)


@torch.no_grad()
def optimize_step(
    live: Stream,
    frame: Tensor,
    *,
    backends: Sequence[str] | None,
    budget_s: float,
    tolerance: float,
) -> OptimizedStream:
    """Return the fastest stream with the same steps, on frames like `frame`."""
    if odd := [name for name in backends or () if name not in WAYS]:
        raise LeanError(f"optimize: a stream runs by {', '.join(WAYS)}, got {odd[0]!r}")
    start = time.monotonic()
    makers: dict[str, Callable[[], OptimizedStream]] = {
        "eager": lambda: OptimizedStream(live, "eager"),
        "fused": lambda: OptimizedStream(fused(live), "fused"),
        "onednn": lambda: OptimizedStream(fused(live), "onednn"),
        "cuda_graph": lambda: OptimizedStream(fused(live), "cuda_graph"),
    }
    if frame.device.type != "cuda":
        del makers["cuda_graph"]
    if not PackedPlanes.fits(live._like):
        del makers["onednn"]
    wanted = [
        "eager",
        *(name for name in makers if name != "eager" and name in (backends or makers)),
    ]
    count = STEPS + 2 * -(-live.delay // live.chunk)
    scale = frame.abs().amax()
    frames = [frame, *(torch.rand_like(frame) * scale for _ in range(count))]
    expected = _outputs(live, live, frames)
    rows: dict[str, Candidate] = {}
    running: dict[str, OptimizedStream] = {}
    for name in wanted:
        try:
            own = makers[name]()
            apart = _apart(_outputs(own, live, frames), expected)
        except Exception as error:  # a user's forward may raise anything
            why = f"{type(error).__name__}: {error}".strip().splitlines()[0]
            rows[name] = Candidate(name, note=f"failed: {why[:120]}")
            continue
        rows[name] = Candidate(name, error=apart)
        if apart <= tolerance:
            running[name] = own
        else:
            rows[name] = rows[name].noted(f"refused: differs by {apart:.1e}")
    calls = {name: _stepper(own, frame) for name, own in running.items()}
    left = max(budget_s - (time.monotonic() - start), 0.3 * budget_s)
    times = interleaved(calls, ROUNDS, seconds=left)
    for name, seconds in times.items():
        peak = peak_mib(calls[name], frame.device)
        rows[name] = rows[name].timed(seconds, peak)
    named = times.keys() & set(backends or ()) or times.keys()
    fastest = running[min(named, key=lambda name: rows[name].ms)]
    fastest.table = tuple(rows.values())
    return fastest


def fused(live: Stream) -> Stream:
    """Return a stream whose network has its batch norms fused, with the same states."""
    channels, height, width = live.found.frame
    frames = live.chunk * -(-FRAMES // live.chunk)
    clip = torch.randn(1, channels, frames, height, width).to(live._like)
    folded = fold(live.model, example=clip)
    window = getattr(live.way, "window", None)
    return to_stream(folded, wait=live.waits, window=window, frame=live.found.frame, check=False)


def _outputs(own: Stream, live: Stream, frames: Sequence[Tensor]) -> list[Tensor]:
    """Return the outputs of `own`, and of `live` when it goes on from a state of `own`."""
    state = own.init(len(frames[0]))
    found: list[Tensor] = []
    for place, frame in enumerate(frames):
        if place == len(frames) // 2:
            between = state
            for later in frames[place:]:
                output, between = live.step(later, between)
                found += tensors(output)
        output, state = own.step(frame, state)
        found += tensors(output)
    return found


def _apart(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    if len(found) != len(expected):
        return math.inf
    return max(_difference(wanted, got) for wanted, got in zip(expected, found, strict=True))


def _difference(expected: Tensor, found: Tensor) -> float:
    """Return the relative difference; outputs of a delayed network that are not due are NaN."""
    if found.shape != expected.shape:
        return math.inf
    due = expected.isfinite()
    rest = torch.allclose(found[~due].double(), expected[~due].double(), equal_nan=True)
    if not rest:
        return math.inf
    return largest(expected[due].float(), found[due].float()) if due.any() else 0.0


def _stepper(live: Stream, frame: Tensor) -> Callable[[], object]:
    """Return a call that steps on."""
    state = [live.init(len(frame))]

    def step() -> object:
        output, state[0] = live.step(frame, state[0])
        return output

    step()
    return step
