"""The fastest equal step of a stream, found by measuring.

Axes: B batch (streams), C channels, T time, H height, W width.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lean3d.conversion.tolerance import largest
from lean3d.conversion.trace.compare import tensors
from lean3d.conversion.trace.tree import copies
from lean3d.errors import LeanError
from lean3d.report import format_table
from lean3d.runtime.choices import Choices
from lean3d.runtime.optimized import Candidate, Following, described, forget, headings, ranked
from lean3d.runtime.search import Refused, Rules, search
from lean3d.runtime.source import Runner
from lean3d.runtime.step_network import StepNetwork, StepSource
from lean3d.runtime.step_samples import step_samples
from lean3d.streaming import Stream
from lean3d.streaming.state import State

__all__ = ["OptimizedStream", "due_apart", "optimize_step"]

# steps that are compared
STEPS = 4
# times the frames seen so far, for a step late in a video
LATE = 1000
# largest difference allowed of what such a step adds to a state, over what it should add
ADDED = 0.1


class OptimizedStream(Following, Stream):
    """A stream whose steps run by the fastest backend; it takes and returns the same states.

    Frames of a size that the backend was not made for run by the network itself. A copy or a pickle
    runs "eager" until it is optimised again.

    Args:
        live: The stream it equals.
        runner: The backend's callable on frames and the values of the state; None for "eager".
        keys: Of the state, in the order in which the runner takes and returns its values.
        backend: Its name.
        table: All candidates.
        precision: What convolutions are computed in; states stay in the network's own.
        inputs: Of the example, frames and the values of a state: shape, dtype and device of each.
    """

    def __init__(
        self,
        live: Stream,
        runner: Runner | None = None,
        keys: Sequence[str] = (),
        backend: str = "eager",
        table: tuple[Candidate, ...] = (),
        precision: str = "float32",
        inputs: Sequence[dict[str, Any]] = (),
    ):
        super().__init__(live.model, live.way, live.found)
        # a list, so that a runner that is a module is not registered
        self._runner = [] if runner is None or backend == "eager" else [runner]
        self.keys, self.backend, self.table, self.precision = tuple(keys), backend, table, precision
        self.inputs = list(inputs)
        self.register_load_state_dict_post_hook(forget)

    @property
    def runner(self) -> Runner:
        """The backend's callable on frames and the values of a state, which may refuse a size."""
        return self._runner[0] if self._runner else StepNetwork(self, self.keys, careful=False)

    def _advance(
        self, x_BCTHW: Tensor, state: Mapping[str, Tensor], slots: Sequence[str], *, careful: bool
    ) -> tuple[Any, State]:
        if self._runner and careful:
            try:
                output, *values = self._runner[0](x_BCTHW, *(state[key] for key in self.keys))
            except Exception:  # made for other sizes; an error of the network's own is raised below
                pass
            else:
                return output, dict(zip(self.keys, values, strict=True))
        return super()._advance(x_BCTHW, state, slots, careful=careful)

    def forget(self) -> None:
        """Run the network's own step from here on; its weights changed."""
        self._runner, self.backend, self.inputs = [], "eager", []

    def __getstate__(self) -> dict[str, Any]:
        # compiled code and packed weights cannot be copied
        return self.__dict__ | {"_runner": [], "backend": "eager"}

    def rows(self) -> list[dict[str, Any]]:
        """Return the candidates as plain values, the fastest first."""
        return ranked(self.table)

    def report(self, width: int | None = None) -> str:
        """Return the candidates as a table of at most `width` characters a line."""
        return format_table(self.rows(), headings(self.table), width=width)


@torch.no_grad()
def optimize_step(
    live: Stream,
    arguments: tuple[Tensor, ...],
    precision: str,
    names: Sequence[str],
    rules: Rules,
    choices: str | Path | None,
    calibration: Any,
) -> OptimizedStream:
    """Return the fastest stream with the same steps, on frames like the example."""
    if len(arguments) != 1:
        raise LeanError("optimize: a stream takes one frame (B, C, H, W) as the example")
    (frame,) = arguments
    count = STEPS + 2 * -(-live.delay // live.chunk)
    scale = frame.abs().amax()
    frames = [frame, *(torch.rand_like(frame) * scale for _ in range(count))]
    expected, state = _outputs(live, live, frames)
    samples = step_samples(live, frame, calibration, precision)
    x_BCTHW = frame if frame.ndim == 5 else frame.unsqueeze(2)
    keys = tuple(state)
    network = StepNetwork(live, keys, careful=True)
    source = StepSource(network, (x_BCTHW, *state.values()), precision, samples)
    if choices is not None:
        kept = Choices(Path(choices), network, source.arguments, precision)
        rules = replace(rules, kept=kept)

    def stepping(runner: Runner) -> OptimizedStream:
        return OptimizedStream(live, runner, keys, "of this runner")

    def error(runner: Runner) -> float:
        own = stepping(runner)
        # first by itself, so that an error is not hidden by the network's own step
        runner(*copies(source.arguments))
        _check_late(own, live, frame, state)
        return due_apart(_outputs(own, live, frames)[0], expected)

    def call(runner: Runner) -> Callable[[], object]:
        return partial(stepping(runner).step, frame, state)

    found = search(source, names, rules, error, call)
    about = (found.backend, found.table, precision, [described(x) for x in source.arguments])
    return OptimizedStream(live, found.runner, keys, *about)


def _outputs(own: Stream, live: Stream, frames: Sequence[Tensor]) -> tuple[list[Tensor], State]:
    """Return the outputs of `own`, and of `live` when it goes on from a state of `own`.

    The second is the last state. A forward may write into its frame: each step has one of its own.
    """
    state = own.init(len(frames[0]))
    found: list[Tensor] = []
    for place, frame in enumerate(frames):
        if place == len(frames) // 2:
            between = state
            for later in frames[place:]:
                output, between = live.step(later.clone(), between)
                found += tensors(output)
        output, state = own.step(frame.clone(), state)
        found += tensors(output)
    return found, state


def _check_late(own: Stream, live: Stream, frame: Tensor, state: State) -> None:
    """Refuse a step that late in a video does not add to the state what it should.

    A running mean then changes by a small share of itself, which half precision may lose.
    """
    slots = live._plan_of(frame).layout
    kept = [key for key in state if slots[key].kind == "recurrent"]
    counts = [key for key in kept if not state[key].is_floating_point()]
    state = {k: x * LATE if k == "t" or k in counts else x for k, x in state.items()}
    (_, wanted), (_, got) = (one.step(frame.clone(), state) for one in (live, own))
    for key in kept:
        added = wanted[key] - state[key]
        moves = key not in counts and bool(added.abs().sum() > 0)
        if moves and not largest(added, got[key] - state[key]) <= ADDED:
            raise Refused(f"{key} does not change as it should late in a video")


def due_apart(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Return the largest difference of the outputs that are due, inf where others are."""
    if len(found) != len(expected):
        return math.inf
    return max(_difference(wanted, got) for wanted, got in zip(expected, found, strict=True))


def _difference(expected: Tensor, found: Tensor) -> float:
    """Return the relative difference; outputs of a delayed network that are not due are NaN."""
    if (found.shape, found.dtype) != (expected.shape, expected.dtype):
        return math.inf
    due = expected.isfinite()
    rest = torch.allclose(found[~due].double(), expected[~due].double(), equal_nan=True)
    if not rest:
        return math.inf
    return largest(expected[due].float(), found[due].float()) if due.any() else 0.0
