"""Self-check: steps give the outputs of the clip, or the layer that prevents it is named.

Two checks: future frames are replaced by NaN, which must not reach any earlier output; and steps
through a random clip must give the outputs of the clip. A forward may write into what it is given:
each pass has frames of its own.

Axes: B batch, C channels, T time, H height, W width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.errors import LeanError
from lean3d.streaming.probe import maps_of
from lean3d.tracer import Args, Kwargs, Watch

__all__ = ["check_causal", "check_steps_equal_clip", "check_steps_equal_video"]


@dataclass(frozen=True)
class Seen:
    """One call of a module that takes and returns maps of frames (B, C, T, H, W)."""

    path: str
    module: nn.Module
    input: Tensor
    output: Tensor

    @property
    def name(self) -> str:
        return f"{self.path or 'the model'} ({type(self.module).__name__})"


class _Calls(Watch):
    def __init__(self, model: nn.Module):
        super().__init__(model)
        self.seen: list[Seen] = []

    def left(self, path: str, args: Args, kwargs: Kwargs, output: object) -> None:
        given = args[0] if args else None
        if (
            isinstance(given, Tensor)
            and isinstance(output, Tensor)
            and given.ndim == output.ndim == 5
        ):
            # the next layer may work in place
            self.seen.append(Seen(path, self.modules[path], given, output.clone()))


def calls(model: nn.Module, run: Callable[[], object]) -> list[Seen]:
    """Record every call of the model's modules while `run` runs, in the order of their returns."""
    watch = _Calls(model)
    watch.see(run)
    return watch.seen


def spoiled(x: Tensor, known: float) -> bool:
    """Whether anything is NaN in the part of the frames that is known."""
    frames = int(known * x.shape[2])
    return bool(x[:, :, : max(frames, 1)].isnan().any())


def check_causal(model: nn.Module, clip_BCTHW: Tensor) -> None:
    """Refuse a model whose outputs depend on future frames.

    Raises:
        LeanError: names the first non-causal layer.
    """
    poisoned = clip_BCTHW.clone()
    poisoned[:, :, clip_BCTHW.shape[2] // 2 :] = torch.nan
    seen = calls(model, lambda: model(poisoned))
    suspects = [
        number
        for number, call in enumerate(seen)
        if not spoiled(call.input, 0.5) and spoiled(call.output, 0.5) and not is_last(call)
    ]
    framed = have_frames_third(model, clip_BCTHW, seen) if suspects else []
    guilty = next((seen[number] for number in suspects if framed[number]), None)
    if guilty is not None:
        raise LeanError(
            f"stream: {guilty.name} looks ahead: its output for a frame changes with the frames "
            "that follow. Make the model causal, lean3d.convert(model, lean3d.Dissect()), or keep "
            "it and wait for those frames, stream(model, wait=True) or --wait"
        )


def have_frames_third(model: nn.Module, clip_BCTHW: Tensor, seen: list[Seen]) -> list[bool]:
    """Return for each call whether axis 2 grows with the clip, in and out; channels may be last."""
    longer = calls(model, lambda: model(clip_BCTHW.repeat(1, 1, 2, 1, 1)))
    if len(longer) != len(seen):
        return [True] * len(seen)
    return [
        one.input.shape[2] < two.input.shape[2]
        # a pool makes one frame of all
        and (one.output.shape[2] == 1 or one.output.shape[2] < two.output.shape[2])
        for one, two in zip(seen, longer, strict=True)
    ]


def is_last(call: Seen) -> bool:
    """Whether it gives an output for the last frame alone, by a head that declares so."""
    one = call.output.shape[2] == 1 < call.input.shape[2]
    return one and any(hasattr(m, "outputs_last_frame") for m in call.module.modules())


def check_steps_equal_clip(live: Any, clip_BCTHW: Tensor) -> None:
    """Refuse a model whose steps differ from its pass over a clip.

    Args:
        live: The Stream.

    Raises:
        LeanError: names the first layer whose steps differ from its clip, if there is one.
    """
    expected: list[Tensor] = []
    whole = calls(live.model, lambda: expected.extend(maps_of(live.run(clip_BCTHW.clone()))))
    *_, height, width = clip_BCTHW.shape
    answers: list[list[Tensor]] = []

    def steps() -> None:
        state = live.init(height=height, width=width)
        for chunk_BCTHW in clip_BCTHW.split(live.chunk, dim=2):
            answer, state = live.step(chunk_BCTHW.clone(), state)
            answers.append(maps_of(live.found.frames_second(answer, step=True)))

    parts = calls(live.model, steps)
    found = [torch.cat(leaf, dim=1) for leaf in zip(*answers, strict=True)]
    apart = max(map(difference, expected, found), default=0.0)
    if not apart <= 1:
        guilty = first_apart(whole, parts)
        where = f"; the first layer that differs is {guilty.name}" if guilty else ""
        raise LeanError(
            "stream: stepping through a random clip does not give the outputs of the clip"
            f"{where}. It mixes frames and keeps none: lean3d.ops has causal convolutions and "
            "pools, lean3d.ops.memory what a layer of your own needs"
        )


def difference(expected: Tensor, found: Tensor) -> float:
    """Return the largest difference over the tolerance; infinite if shapes differ."""
    if expected.shape != found.shape:
        return torch.inf
    scale = float(expected.abs().max()) if expected.numel() else 0.0
    allowed = max(scale, 1e-3) * torch.finfo(expected.dtype).eps ** 0.5
    return float((expected - found).abs().max()) / allowed if expected.numel() else 0.0


def first_apart(whole: list[Seen], parts: list[Seen]) -> Seen | None:
    """Return the first call whose concatenated steps differ from its pass over the clip."""
    steps, rest = divmod(len(parts), len(whole)) if whole else (0, 1)
    if rest:
        return None
    for number, call in enumerate(whole):
        joined = [parts[step * len(whole) + number].output for step in range(steps)]
        alike = all(plane(y) == plane(call.output) for y in joined)
        if not alike or difference(call.output, torch.cat(joined, dim=2)) > 1:
            return call
    return None


def plane(y: Tensor) -> torch.Size:
    return y.shape[:2] + y.shape[3:]


def check_steps_equal_video(live: Any, video_BCTHW: Tensor) -> None:
    """Refuse a network whose delayed outputs differ from those of its pass over the video.

    Raises:
        LeanError: they differ.
    """
    *_, height, width = video_BCTHW.shape
    state, answers = live.init(height=height, width=width), []
    for chunk_BCTHW in video_BCTHW.split(live.chunk, dim=2):
        answer, state = live.step(chunk_BCTHW.clone(), state)
        answers.append(maps_of(live.found.frames_second(answer, step=True)))
    state = live.end(state)
    for _ in range(0, live.delay, live.chunk):
        answer, state = live.step(torch.zeros_like(chunk_BCTHW), state)
        answers.append(maps_of(live.found.frames_second(answer, step=True)))
    found = (torch.cat(leaf, dim=1) for leaf in zip(*answers, strict=True))
    expected = maps_of(live.run(video_BCTHW.clone()))
    pairs = zip(expected, found, strict=True)
    # outputs of smaller delay than the longest come before the end
    apart = max(difference(y, there(z, y.shape[1])) for y, z in pairs)
    if not apart <= 1:
        raise LeanError(
            "stream(wait=True): the outputs for a random video are not those of the network's pass "
            "over it; something in its forward depends on how many frames a step has"
        )


def there(answers_BT: Tensor, frames: int) -> Tensor:
    """Return the last `frames` outputs that are there."""
    known_T = ~answers_BT.reshape(*answers_BT.shape[:2], -1).isnan().any(2).any(0)
    return answers_BT[:, known_T][:, -frames:]
