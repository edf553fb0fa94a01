"""Outputs of `lean3d stream`: a screen, lines of JSON, videos with captions."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lean3d.data.source import public_name
from lean3d.data.video_write import VideoWriter, check_video_path, write_video
from lean3d.errors import RunError
from lean3d.files import check_outputs
from lean3d.infer.live import Answer, Session
from lean3d.report import json_line
from lean3d.report.caption import Caption, best
from lean3d.report.screen import Screen, Shown

__all__ = ["Output", "Track", "out_paths"]


@dataclass(frozen=True)
class Track:
    """One input video, and the path of its captioned copy."""

    name: str
    fps: float
    out: Path | None


class Output(ExitStack):
    """Takes the outputs of a session; the videos are complete when its block ends without error."""

    def __init__(self, tracks: Sequence[Track], names: tuple[str, ...], *, json: bool):
        super().__init__()
        self.tracks, self.names, self.json = tracks, names, json
        self.captions = [Caption(names) for _ in tracks]
        self.writers: dict[int, VideoWriter] = {}
        self.screen = self.enter_context(Screen())

    def show(self, answer: Answer, session: Session) -> None:
        """One frame of one video."""
        track, scores = self.tracks[answer.source], best(answer.probabilities, self.names)
        meter = session.meters[answer.source]
        times = meter.percentile(50), meter.percentile(99)
        shown = Shown(track.name, meter.frames, meter.recent_fps, *times, answer.dropped, scores)
        self.screen.show(answer.source, shown)
        if self.json:
            print(json_line(_record(track.name, answer, scores)), flush=True)
        if track.out is not None:
            self._write(answer, track.out, track.fps)

    def _write(self, answer: Answer, out: Path, fps: float) -> None:
        if answer.source not in self.writers:
            self.writers[answer.source] = self.enter_context(write_video(out, fps))
        seconds, caption = answer.frame.seconds, self.captions[answer.source]
        picture = caption.draw(answer.frame.pixels, answer.probabilities, seconds)
        self.writers[answer.source].write(picture, seconds)


def out_paths(
    out: Path | None, sources: Sequence[str], read: Mapping[str, list[Path]]
) -> list[Path | None]:
    """Return the path of each source's video: `out` itself, or files in it for several sources.

    Args:
        read: Other files read, by description; no video may replace them, or a source.

    Raises:
        LeanError: there is no such folder, or a video would replace a source.
    """
    if out is None:
        return [None] * len(sources)
    outputs: dict[str, Path | None] = {"--out": out}
    if len(sources) == 1:
        check_video_path(out)
    elif not out.is_dir():
        raise RunError(f"there is no folder {out} to write videos in; make it first")
    else:
        names = [Path(public_name(source)).stem for source in sources]
        outputs = {
            f"--out of source {n}": out / f"{n}_{name}.mp4" for n, name in enumerate(names, 1)
        }
    check_outputs(outputs, {"video": sources, **read})
    return list(outputs.values())


def _record(name: str, answer: Answer, scores: list[tuple[str, float]]) -> dict[str, Any]:
    return {
        "source": name,
        "frame": answer.frame.index,
        "seconds": round(answer.frame.seconds, 4),
        "top": [[name, round(share, 4)] for name, share in scores],
        "ms": round(answer.milliseconds, 3),
        "dropped": answer.dropped,
    }
