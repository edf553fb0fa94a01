"""Answer every frame of one or more videos with a streaming classifier.

Axes: B batch (streams), C channels, H height, W width, K classes.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lean3d.data.frames import Frame
from lean3d.data.pixels import fit_frame
from lean3d.data.prefetch import Prefetch
from lean3d.errors import LeanError, ShapeError
from lean3d.infer.meter import Meter
from lean3d.stream import Stream

__all__ = ["Answer", "Session"]


@dataclass(frozen=True)
class Answer:
    """What the model says of a frame.

    Args:
        source: Number of the video.
        probabilities: Of the classes, (K,).
        milliseconds: From taking the frame to having the answer, the other streams' included.
        dropped: Frames of this video that no one waited for, so far.
    """

    source: int
    frame: Frame
    probabilities: Tensor
    milliseconds: float
    dropped: int


class Session:
    """Videos side by side through one model: one frame of each makes a batch.

    Every video begins, ends and fails on its own; `errors` keeps what became of those that failed.
    The slowest source sets the pace of all.

    Args:
        live: `lean3d.stream(model)` of a classifier with an answer a frame.
        size: Height and width of the model's frames.
    """

    def __init__(self, live: Stream, sources: Sequence[Prefetch], size: tuple[int, int]):
        self.live, self.sources, self.size = live, list(sources), size
        self.meters = [Meter() for _ in sources]
        self.errors: dict[int, LeanError] = {}

    @torch.inference_mode()
    def __iter__(self) -> Iterator[list[Answer]]:
        """The answers to the next frame of every video that has one, until all have ended."""
        like = next(self.live.model.parameters(), torch.zeros(()))
        running = list(range(len(self.sources)))
        state = self.live.init(len(running))
        while frames := self._take(running):
            if list(frames) != running:
                streams = dict(zip(running, self.live.unbind(state), strict=True))
                running = list(frames)
                state = self.live.stack([streams[source] for source in running])
            start = time.perf_counter()
            fitted = [fit_frame(frame.pixels, self.size) for frame in frames.values()]
            scores, state = self.live.step(torch.stack(fitted).to(like), state)
            probabilities_BK = _probabilities(scores)
            yield self._answers(frames, probabilities_BK, 1000 * (time.perf_counter() - start))

    def close(self) -> None:
        """Stop reading the videos."""
        for source in self.sources:
            source.close()

    def _take(self, running: list[int]) -> dict[int, Frame]:
        taken = {}
        for source in running:
            try:
                frame = self.sources[source].take()
            except LeanError as error:
                self.errors[source] = error
                continue
            if frame is not None:
                taken[source] = frame
        return taken

    def _answers(
        self, frames: dict[int, Frame], probabilities_BK: Tensor, milliseconds: float
    ) -> list[Answer]:
        answers = []
        for (source, frame), probabilities_K in zip(frames.items(), probabilities_BK, strict=True):
            self.meters[source].add(milliseconds)
            dropped = self.sources[source].dropped
            answers.append(Answer(source, frame, probabilities_K, milliseconds, dropped))
        return answers


def _probabilities(scores: Tensor) -> Tensor:
    if not isinstance(scores, Tensor) or scores.ndim != 2:
        shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise ShapeError(
            f"a live session needs a classifier, whose answer to a frame is (B, K), got {shape}"
        )
    return scores.float().softmax(1).cpu()
