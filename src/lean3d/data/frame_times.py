"""The number of frames of a video and their times, found once without decoding it.

They are kept in a file beside the data (`FrameIndex`), so that the next run reads that alone.
"""

import json
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from lean3d.data.stills import list_images
from lean3d.data.video import VideoFile, decoded
from lean3d.errors import DataError

__all__ = ["INDEX", "FrameIndex", "FrameTimes", "measure"]

INDEX = ".lean3d-frames.jsonl"
# of a frame, or of a tick: times are rounded
LATE = Fraction(1, 1000)
# a rate for folders of images, which have none
STILLS_FPS = 25
# in these FFmpeg finds times, and not the key frames before them
STREAMS = ("mpegts", "mpeg")
# reading packets waits for the disk
THREADS = 8


@dataclass(frozen=True)
class FrameTimes:
    """Of one video.

    Args:
        num: Frames.
        base: Seconds of a tick, as numerator and denominator.
        start: Ticks of the first frame.
        step: Ticks from each frame to the next, where that is always the same.
        ticks: Of every frame, where they are not; empty with a `step` of 0 where the file does not
            tell them in order: it is then read from its front.
    """

    num: int
    base: tuple[int, int]
    start: int = 0
    step: int = 0
    ticks: tuple[int, ...] = ()

    @property
    def seekable(self) -> bool:
        return bool(self.step or self.ticks)

    def tick(self, frame: int) -> int:
        """Return the time of a frame, in the ticks of the file."""
        return self.ticks[frame] if self.ticks else self.start + frame * self.step

    def at(self, seconds: float) -> int:
        """Return the frame that is shown this many seconds after the first one."""
        if not self.ticks:
            frame = int(Fraction(seconds) / ((self.step or 1) * self._base) + LATE)
            return min(max(frame, 0), self.num - 1)
        wanted = self.ticks[0] + Fraction(seconds) / self._base
        return max(bisect_right(self.ticks, wanted + LATE) - 1, 0)

    def seconds(self, frame: int) -> float:
        """Return the time of a frame after the first one."""
        ticks = self.ticks[frame] - self.ticks[0] if self.ticks else frame * (self.step or 1)
        return float(ticks * self._base)

    @property
    def fps(self) -> float:
        """Frames a second, on average."""
        if self.ticks and self.num > 1:
            return float((self.num - 1) / ((self.ticks[-1] - self.ticks[0]) * self._base))
        return float(1 / ((self.step or 1) * self._base))

    @property
    def _base(self) -> Fraction:
        return Fraction(*self.base)


def measure(path: Path) -> FrameTimes:
    """Return the frames of a video file, or of a folder of images, and their times.

    Raises:
        DataError: it is no video, or is shorter than its index says.
    """
    if not path.exists() or not (path.is_dir() or path.is_file()):
        # reading a pipe would block
        raise DataError(f"{path} is no file; remove it from its folder")
    if path.is_dir():
        num = len(list_images(path))
        if not num:
            raise DataError(f"{path} holds no image")
        return FrameTimes(num, (1, STILLS_FPS), step=1)
    video = VideoFile(path)
    try:
        video.check_index()
        return _by_index(video) or _by_packets(video)
    finally:
        video.close()


def _by_index(video: VideoFile) -> FrameTimes | None:
    """Read the index of an MP4 whose frames follow each other evenly; packets are not read."""
    entries = list(getattr(video.stream, "index_entries", ()))
    whole = "mp4" in video.container.format.name and len(entries) == video.stream.frames > 1
    if not whole or any(entry.is_discard for entry in entries):
        return None
    # times of decoding: even ones are those of showing, but for the start
    ticks = [entry.timestamp for entry in entries]
    steps = {b - a for a, b in pairwise(ticks)}
    start = video.stream.start_time
    if len(steps) != 1 or start is None:
        return None
    base = video.stream.time_base
    return FrameTimes(len(entries), (base.numerator, base.denominator), start, steps.pop())


def _by_packets(video: VideoFile) -> FrameTimes:
    base, own, ends = video.stream.time_base, video.stream.index, Fraction(0)
    packets = []
    with decoded(video.name):
        for packet in video.container.demux():
            if not packet.size:
                continue
            if packet.stream_index == own and not packet.is_discard:
                packets.append(packet)
            if (time := packet.dts if packet.pts is None else packet.pts) is not None:
                ends = max(ends, (time + (packet.duration or 0)) * packet.time_base)
    video.check_end(ends)
    if not packets:
        raise DataError(f"{video.name} holds no frame")
    found = [packet.pts for packet in packets]
    given = (base.numerator, base.denominator)
    kind = video.container.format.name
    # AVI has a rate only, and no order of showing
    moved = kind == "avi" and video.stream.codec_context.has_b_frames
    if moved or kind in STREAMS or None in found or len(set(found)) != len(found):
        rate = Fraction(video.fps).limit_denominator(1001)
        return FrameTimes(len(found), (rate.denominator, rate.numerator))
    ticks = sorted(found)
    steps = {b - a for a, b in pairwise(ticks)}
    if len(steps) == 1:
        return FrameTimes(len(ticks), given, ticks[0], steps.pop())
    return FrameTimes(len(ticks), given, ticks=tuple(ticks))


class FrameIndex:
    """The frame times of many videos, kept in a file of one line a video.

    A line holds while the file's size and modification time are the same. Where the folder cannot
    be written, the times are found again in every run.

    Args:
        folder: Of the data; None to keep nothing.
    """

    def __init__(self, folder: Path | None):
        self.folder = folder
        self.known = {} if folder is None else _read_lines(folder / INDEX)

    def times(self, paths: Iterable[Path]) -> tuple[dict[Path, FrameTimes], dict[Path, DataError]]:
        """Return the times of these videos, and the error of each that is damaged."""
        found: dict[Path, FrameTimes] = {}
        errors: dict[Path, DataError] = {}
        missing = []
        for path in dict.fromkeys(paths):
            known = self._known(path)
            if known is None:
                missing.append(path)
            else:
                found[path] = known
        with ThreadPoolExecutor(max_workers=THREADS) as pool:
            for path, result in zip(missing, pool.map(_measured, missing), strict=True):
                if isinstance(result, FrameTimes):
                    found[path] = result
                else:
                    errors[path] = result
        self._keep({path: found[path] for path in missing if path in found})
        return found, errors

    def _known(self, path: Path) -> FrameTimes | None:
        record = self.known.get(self._name(path))
        try:
            if record is None or record["stat"] != _stat(path):
                return None
            return FrameTimes(**record["times"])
        except (OSError, KeyError, TypeError):
            return None

    def _name(self, path: Path) -> str:
        if self.folder is not None and path.is_relative_to(self.folder):
            return str(path.relative_to(self.folder))
        return str(path)

    def _keep(self, new: dict[Path, FrameTimes]) -> None:
        if self.folder is None or not new:
            return
        lines = [_line(self._name(path), path, times) for path, times in new.items()]
        try:
            # each line whole: other processes may append beside this one
            with (self.folder / INDEX).open("a", encoding="utf-8") as file:
                file.write("".join(lines))
        except OSError:
            return


def _measured(path: Path) -> FrameTimes | DataError:
    try:
        return measure(path)
    except DataError as error:
        return error


def _stat(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _line(name: str, path: Path, times: FrameTimes) -> str:
    return json.dumps({"file": name, "stat": _stat(path), "times": asdict(times)}) + "\n"


def _read_lines(path: Path) -> dict[str, Any]:
    """Return the records of an index by file; a torn line is none."""
    records: dict[str, Any] = {}
    try:
        lines: Sequence[str] = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return records
    for line in lines:
        try:
            record = json.loads(line)
            times = record["times"]
            times["base"], times["ticks"] = tuple(times["base"]), tuple(times["ticks"])
            records[record["file"]] = record
        except (ValueError, KeyError, TypeError):
            continue
    return records
