"""Classify every frame of one or more videos with a streaming classifier.

Axes: B batch (streams), C channels, H height, W width, K classes.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lean3d.data.frames import Frame
from lean3d.data.look import Look
from lean3d.data.prefetch import Prefetch
from lean3d.errors import LeanError, ShapeError
from lean3d.infer.meter import Meter
from lean3d.streaming import Stream
from lean3d.streaming.state import NEVER, State

__all__ = ["Answer", "Session"]


@dataclass(frozen=True)
class Answer:
    """The output of the model for a frame.

    Args:
        source: Index of the video.
        probabilities: Of the classes, (K,).
        milliseconds: Duration of the step that gave the output, including the other streams'.
        dropped: Frames of this video dropped so far.
    """

    source: int
    frame: Frame
    probabilities: Tensor
    milliseconds: float
    dropped: int


class Session:
    """Several videos as one batch through one model.

    Every video begins, ends and fails on its own; `errors` has the error of each that failed. The
    slowest source determines the frame rate of all. A delayed network gives the output of a frame
    when the future frames it needs have arrived, and the same output for the frames of a step.

    Args:
        live: `lean3d.stream(model)` of a classifier.
        size: Height and width of the model's frames, or a `Look` with their crop and colours.
        limit: Maximum number of frames of every video.
    """

    def __init__(
        self,
        live: Stream,
        sources: Sequence[Prefetch],
        size: tuple[int, int] | Look,
        limit: int | None = None,
    ):
        self.live, self.sources, self.limit = live, list(sources), limit
        self.look = size if isinstance(size, Look) else Look(size)
        self._taken = [0 for _ in sources]
        self.meters = [Meter() for _ in sources]
        self.errors: dict[int, LeanError] = {}
        self._late = -(-live.delay // live.chunk)  # steps
        # by source: the frames of its last steps, whose outputs are still due
        self._due: list[deque[list[Frame]]] = [deque() for _ in sources]

    @torch.inference_mode()
    def __iter__(self) -> Iterator[list[Answer]]:
        """Return the outputs of a step, for every video that has one, until all have ended."""
        running = list(range(len(self.sources)))
        state = self.live.init(len(running))
        while frames := self._take(running):
            if list(frames) != running:
                streams = dict(zip(running, self.live.unbind(state), strict=True))
                running = list(frames)
                state = self.live.stack([streams[source] for source in running])
            start = time.perf_counter()
            state = self._ended(state, list(frames.values()))
            scores, state = self.live.step(self._clip(list(frames.values())), state)
            probabilities_BK = _probabilities(scores)
            milliseconds = 1000 * (time.perf_counter() - start)
            if answers := self._answers(frames, probabilities_BK, milliseconds):
                yield answers

    def close(self) -> None:
        """Stop reading the videos."""
        for source in self.sources:
            source.close()

    def _take(self, running: list[int]) -> dict[int, list[Frame]]:
        """Return the next frames of every video that has some, or whose outputs are still due."""
        taken = {source: self._next(source) for source in running}
        return {s: frames for s, frames in taken.items() if frames or any(self._due[s])}

    def _next(self, source: int) -> list[Frame]:
        frames: list[Frame] = []
        try:
            while source not in self.errors and len(frames) < self.live.chunk:
                if self._taken[source] == self.limit:
                    break
                if (frame := self.sources[source].take()) is None:
                    break
                frames.append(frame)
                self._taken[source] += 1
        except LeanError as error:
            self.errors[source] = error
        return frames

    def _ended(self, state: State, frames: list[list[Frame]]) -> State:
        """Return the state in which videos end with their remaining frames."""
        for place, own in enumerate(frames):
            if len(own) < self.live.chunk and state["end"][place] >= NEVER:
                state = self.live.end(state, [place], after=len(own))
        return state

    def _clip(self, frames: list[list[Frame]]) -> Tensor:
        """(B, C, H, W), or (B, C, T, H, W) for a chunk of frames; zeros after the last."""
        like = next(self.live.model.parameters(), torch.zeros(()))
        blank = torch.zeros(self.live.found.frame[0], 1, *self.look.size)
        missing = [[blank] * (self.live.chunk - len(own)) for own in frames]
        clips = [
            torch.cat([self._fitted(frame) for frame in own] + rest, 1)
            for own, rest in zip(frames, missing, strict=True)
        ]
        clip_BCTHW = torch.stack(clips).to(like)
        return clip_BCTHW if self.live.chunk > 1 else clip_BCTHW.squeeze(2)

    def _fitted(self, frame: Frame) -> Tensor:
        return self.look.apply([frame.pixels], self.look.middle(frame.pixels.shape[:2]))

    def _answers(
        self, frames: dict[int, list[Frame]], probabilities_BK: Tensor, milliseconds: float
    ) -> list[Answer]:
        answers = []
        for (source, own), probabilities_K in zip(frames.items(), probabilities_BK, strict=True):
            self._due[source].append(own)
            if len(self._due[source]) <= self._late:
                continue
            for frame in self._due[source].popleft():
                self.meters[source].add(milliseconds)
                dropped = self.sources[source].dropped
                answers.append(Answer(source, frame, probabilities_K, milliseconds, dropped))
        return answers


def _probabilities(scores: Tensor) -> Tensor:
    if not isinstance(scores, Tensor) or scores.ndim != 2:
        shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise ShapeError(
            f"a live session needs a classifier, whose output for a frame is (B, K), got {shape}"
        )
    return scores.float().softmax(1).cpu()
