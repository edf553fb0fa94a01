"""One vector for a whole video: the mean of those of its frames, offline and while it runs.

Paper: Köpüklü et al., Dissected 3D CNNs (D3D), arXiv:2009.14639, Sec 4.4 and 4.5: the features of
all frames are averaged (`avg all`), or those from the fifth frame on (`avg 5:end`).
Differs from the paper: it does not say whether the mean of normalised vectors is normalised again;
both are options.

Axes: B batch, C channels, E embedding, T time, H height, W width.
"""

from collections.abc import Iterable, Iterator
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.errors import LeanError, ShapeError
from lean3d.ops.causal_pools import RunningMean
from lean3d.ops.heads import EmbeddingHead, asked
from lean3d.streaming import stream

__all__ = ["Embedder", "Embedding", "FrameEmbeddings", "Normalise", "fuse"]

Normalise = Literal["none", "frames", "mean", "both"]


class FrameEmbeddings(nn.Module):
    """The vectors of the frames of a network with an embedding head.

    Shape: (B, C, T, H, W) -> (B, E, T)

    Raises:
        LeanError: the model has no EmbeddingHead.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        head = getattr(model, "head", None)
        if not isinstance(head, EmbeddingHead):
            raise LeanError(
                f"{type(model).__name__} has no vectors of frames; they are of a network with an "
                "EmbeddingHead, such as d_resnet_18 with head='embedding'"
            )
        self.model = model

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        model = self.model
        return model.head.frames(model.features(x_BCTHW))  # type: ignore[union-attr, operator]


class Embedding(nn.Module):
    """The vector of a video; `lean3d.stream` runs it frame by frame.

    Args:
        model: A network with an EmbeddingHead.
        skip: Frames at the start that do not count, while the caches of a causal network fill; 4
            is "avg 5:end". Until there are more, the vector is that of the last frame.
        normalise: To length 1, each vector of a frame, their mean, or both.

    Shape: (B, C, T, H, W) -> (B, E)
    State: in a stream the network's, and the mean, (B, E).
    """

    def __init__(self, model: nn.Module, skip: int = 0, normalise: Normalise = "none"):
        super().__init__()
        check_fusion(skip, normalise)
        self.frames = FrameEmbeddings(model)
        self.mean, self.normalise = RunningMean(skip), normalise

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        y_BET = self.frames(x_BCTHW)
        if self.normalise in ("frames", "both"):
            y_BET = F.normalize(y_BET, dim=1)
        y_BET = self.mean(y_BET)
        if self.normalise in ("mean", "both"):
            y_BET = F.normalize(y_BET, dim=1)
        return asked(y_BET.transpose(1, 2))


def fuse(frames_TE: Tensor, skip: int = 0, normalise: Normalise = "none") -> Tensor:
    """Return the vector of a video, (E,), from those of its frames, as `Embedding` does."""
    check_fusion(skip, normalise)
    y_TE = frames_TE.float()
    if normalise in ("frames", "both"):
        y_TE = F.normalize(y_TE, dim=1)
    y_E = (y_TE[skip:] if len(y_TE) > skip else y_TE[-1:]).mean(0)
    return F.normalize(y_E, dim=0) if normalise in ("mean", "both") else y_E


def check_fusion(skip: int, normalise: str) -> None:
    """Refuse values that `fuse` does not know."""
    if skip < 0:
        raise LeanError(f"skip is a number of frames, 0 or more, got {skip}")
    if normalise not in get_args(Normalise):
        raise LeanError(f"normalise is one of {get_args(Normalise)}, got {normalise!r}")


class Embedder:
    """Turns videos of any length into vectors, a few frames at a time.

    A causal network with an EmbeddingHead runs as a stream and has a vector for every frame.
    Of any other network that turns a clip into a vector, each window of a video has one; the last
    window ends with the video.

    Args:
        model: In eval mode.
        frame: (C, H, W) of a frame.
        window: Frames of a clip, for networks without vectors of frames.
        at_once: Frames of a step.
    """

    def __init__(
        self, model: nn.Module, frame: tuple[int, int, int], window: int = 16, at_once: int = 16
    ):
        self.model, self.window, self.at_once = model, window, at_once
        self.causal = isinstance(getattr(model, "head", None), EmbeddingHead)
        self.live = stream(FrameEmbeddings(model).eval(), frame=frame) if self.causal else None

    @torch.no_grad()
    def frames(self, frames: Iterable[Tensor]) -> Tensor:
        """Return the vectors of the frames, or of the windows, of one video, (T, E), on the CPU.

        Args:
            frames: (C, H, W) each, in order.

        Raises:
            LeanError: the video has no frame.
        """
        if self.live is None:
            found = [self._clip(clip_CTHW) for clip_CTHW in self._windows(frames)]
        else:
            found, state = [], self.live.init()
            for clip_CTHW in _pieces(frames, self.at_once):
                y_BET, state = self.live.step(self._given(clip_CTHW), state)
                found.append(y_BET[0].transpose(0, 1))
        if not found:
            raise LeanError("a video without frames has no vector")
        return torch.cat(found).float().cpu()

    def _clip(self, clip_CTHW: Tensor) -> Tensor:
        y = self.model(self._given(clip_CTHW))
        if not isinstance(y, Tensor) or y.ndim != 2:
            shape = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
            raise ShapeError(f"an embedding of a clip is (B, E), got {shape}")
        return y

    def _windows(self, frames: Iterable[Tensor]) -> Iterator[Tensor]:
        last: Tensor | None = None
        for clip_CTHW in _pieces(frames, self.window):
            missing = self.window - clip_CTHW.shape[1]
            if missing and last is not None:
                clip_CTHW = torch.cat([last[:, -missing:], clip_CTHW], 1)
            elif missing:  # the video is shorter than a window: repeated
                times = -(-self.window // clip_CTHW.shape[1])
                clip_CTHW = clip_CTHW.repeat(1, times, 1, 1)[:, : self.window]
            last = clip_CTHW
            yield clip_CTHW

    def _given(self, clip_CTHW: Tensor) -> Tensor:
        return clip_CTHW.unsqueeze(0).to(next(self.model.parameters()))


def _pieces(frames: Iterable[Tensor], num: int) -> Iterator[Tensor]:
    """Yield clips (C, T, H, W) of `num` frames, the last of fewer."""
    piece: list[Tensor] = []
    for frame_CHW in frames:
        piece.append(frame_CHW)
        if len(piece) == num:
            yield torch.stack(piece, 1)
            piece = []
    if piece:
        yield torch.stack(piece, 1)
