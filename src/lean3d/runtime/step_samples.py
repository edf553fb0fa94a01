"""The steps that int8 is calibrated on, taken from clips.

Axes: B batch (streams), C channels, T time, H height, W width.
"""

from collections.abc import Sequence

from torch import Tensor

from lean3d.errors import LeanError
from lean3d.runtime.calibration import listed
from lean3d.streaming import Stream
from lean3d.typed import shortened

__all__ = ["step_samples"]

# steps that are kept, each with its state
MOST = 64


def step_samples(
    live: Stream, frame: Tensor, calibration: Sequence[Tensor] | None, precision: str
) -> tuple[tuple[Tensor, ...], ...]:
    """Return frames and states, some tens of steps spread evenly over the clips.

    Args:
        calibration: Clips (B, C, T, H, W) of the frame's size, for int8; None for other precisions.

    Raises:
        LeanError: int8 has no clips, another precision has some, or they do not fit.
    """
    given = listed(calibration, precision, "clips (B, C, T, H, W) such as the stream", "one clip")
    if not given:
        return ()
    clips = [_checked(live, frame, clip, place) for place, clip in enumerate(given)]
    steps = sum(clip.shape[2] // live.chunk for clip in clips)
    every, number, kept = -(-steps // MOST), 0, []
    for clip_BCTHW in clips:
        state = live.init(
            len(clip_BCTHW), channels=frame.shape[1], height=frame.shape[-2], width=frame.shape[-1]
        )
        for frames_BCTHW in clip_BCTHW.split(live.chunk, 2):
            if number % every == every - 1:
                kept.append((frames_BCTHW, *state.values()))
            _, state = live.step(frames_BCTHW, state)
            number += 1
    return tuple(kept)


def _checked(live: Stream, frame: Tensor, clip: Tensor, place: int) -> Tensor:
    size = (frame.shape[1], *frame.shape[-2:])
    if not isinstance(clip, Tensor) or clip.ndim != 5:
        raise LeanError(
            f"optimize: calibration[{place}] of a stream is a clip (B, C, T, H, W), got "
            f"{shortened(clip)}"
        )
    if (clip.shape[1], *clip.shape[-2:]) != size or (clip.dtype, clip.device) != (
        frame.dtype,
        frame.device,
    ):
        raise LeanError(
            f"optimize: calibration[{place}] is not like the example, (C, H, W) = {size}, in "
            f"{frame.dtype} on {frame.device}; got {tuple(clip.shape)} in {clip.dtype}"
        )
    frames = clip.shape[2] // live.chunk * live.chunk
    if not frames:
        raise LeanError(
            f"optimize: calibration[{place}] has {clip.shape[2]} frames, a step takes {live.chunk}"
        )
    return clip[:, :, :frames]
