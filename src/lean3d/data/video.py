"""Frames of a video file, a camera or a network stream, decoded by FFmpeg."""

import platform
from collections.abc import Container, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from lean3d.data.frames import FrameSource, check_pixels
from lean3d.data.upright import UPRIGHT, turn_of_frame
from lean3d.errors import DataError
from lean3d.optional import require

__all__ = ["Camera", "VideoFile", "decoded", "local", "upright"]

# FFmpeg's name for cameras, and its name for the first one
CAMERAS = {
    "Linux": ("v4l2", "/dev/video{}"),
    "Darwin": ("avfoundation", "{}:none"),
    "Windows": ("dshow", "video={}"),
}
# timeout in seconds of a network stream without data
PATIENCE = 10.0
# maximum share of missing frames
MISSING = 0.02
# formats whose header has the duration; in others FFmpeg takes it from what is there
TIMED = "matroska,webm", "avi", "flv", "asf"
# formats of packets alone, and the bytes to whose multiple zeros may fill them
PACKED, SECTOR = ("mpegts", "mpeg"), 2048
# bytes of a packet that may be of zeros
SHORT = 16


class VideoFile(FrameSource):
    """A video file, a network stream (rtsp://...), or an open binary file such as stdin.

    Args:
        source: Path, address or file object.
        options: For FFmpeg, by its names.
        threads: That decode; by default as many as FFmpeg likes.

    Raises:
        DataError: it does not exist, is not a video, or its codec is not in this FFmpeg.
    """

    def __init__(
        self,
        source: Any,
        *,
        name: str | None = None,
        live: bool = False,
        kind: str | None = None,
        options: dict[str, str] | None = None,
        threads: int | None = None,
    ):
        self.name, self.live, self.threads = name or str(source), live, threads
        settings: dict[str, Any] = dict(format=kind, options=options)
        settings |= {"timeout": PATIENCE} if live else {}
        where = local(source) if isinstance(source, Path) else source
        # packets so far that an edit list hides: those before the cut that its frames are made from
        self.hidden = 0
        # not seekable
        self.piped = not isinstance(source, (str, Path))
        with decoded(self.name, piped=self.piped):
            self.container = require("av", extra="video").open(where, **settings)
        self.stream = self._video()
        # network streams, from servers too, are live
        self.length = self._promised()
        self.live = live and self.length is None
        self.fps = float(self.stream.average_rate or self.stream.base_rate or 25)

    def read(self) -> Iterator[tuple[Tensor, float | None]]:
        count, first, size = 0, None, (0, 0)
        # AVI has a rate only; the times FFmpeg computes from it are not monotonic
        timed = self.container.format.name != "avi"
        for frame in self.frames():
            count += 1
            first = frame.time if first is None else first
            known = timed and frame.time is not None
            if (frame.height, frame.width) != size:
                size = frame.height, frame.width
                check_pixels(self.name, *size)
            yield upright(frame), frame.time - first if known else None
        if self.length and count + self.damaged + self.hidden < (1 - MISSING) * self.length:
            raise DataError(
                f"{self.name} is truncated: it promises {self.length} frames and ends "
                f"after {count}; repair or copy it again"
            )

    def frames(self, wanted: Container[int] | None = None) -> Iterator[Any]:
        """Yield PyAV's frames from here on; a packet that cannot be decoded costs its own alone.

        Args:
            wanted: The times (pts) of frames that are needed; of the others, those that no frame is
                made from are left out. All are needed by default.
        """
        damage = require("av.error", extra="video").InvalidDataError
        any_decoded, skips = False, False
        with decoded(self.name, piped=self.piped):
            for packet in self.container.demux(self.stream):
                self.hidden += packet.is_discard
                if wanted is not None:
                    needed = packet.pts is None or packet.pts in wanted
                    if needed == skips:
                        skips = not needed
                        self.stream.codec_context.skip_frame = "NONREF" if skips else "DEFAULT"
                try:
                    got = packet.decode()
                except damage:
                    # at the end of a file without a frame it is the file that is damaged
                    if packet.size == 0 and not any_decoded:
                        raise
                    self.damaged += 1
                    continue
                any_decoded = any_decoded or bool(got)
                yield from got
        if self.damaged and not any_decoded:
            raise DataError(f"cannot read {self.name}: none of its packets can be decoded")

    def check_index(self) -> None:
        """Refuse a file that is shorter than its index says, without decoding it.

        So is one that was made in its full length and not filled: it ends in zeros. Damage
        elsewhere is found when it is decoded.
        """
        # none if the file has no index, or this PyAV does not provide it
        index: Any = getattr(self.stream, "index_entries", ())
        if self.piped or not len(index):
            return
        with Path(self.name).open("rb") as file:
            # the last frame lies last, and listing thousands takes as long as decoding a clip
            if _filled(file, index[-1]):
                return
            num = len(index)
            there = sum(_filled(file, entry) for entry in index)
        if there < (1 - MISSING) * num:
            raise DataError(
                f"{self.name} is truncated: its index promises {num} frames and it holds "
                f"{there}; repair or copy it again"
            )

    def check_end(self, seconds: Fraction) -> None:
        """Refuse a file that ends in zeros, or before the time that its header says.

        Args:
            seconds: End of the last packet, of sound too.
        """
        kind = self.container.format.name
        if kind in PACKED and _ends_in_zeros(Path(self.name)):
            raise DataError(f"{self.name} is truncated: it ends in zeros; copy it again")
        if kind not in TIMED or not self.container.duration:
            return
        promised = Fraction(self.container.duration, 10**6)
        # of a shorter AVI, FFmpeg shortens the duration
        promised = max(promised, Fraction((self.length or 0) / self.fps))
        # a file that begins late, as a segment of a recording, promises its last time
        found = seconds - Fraction(min(self.container.start_time or 0, 0), 10**6)
        if found < (1 - Fraction(MISSING)) * promised - Fraction(1 / self.fps):
            raise DataError(
                f"{self.name} is truncated: it promises {float(promised):.2f} s and "
                f"ends after {max(float(found), 0):.2f} s; repair or copy it again"
            )

    def close(self) -> None:
        self.container.close()

    def _promised(self) -> int | None:
        """Return the packets that the file promises; None if it does not tell."""
        # 0 if it has none
        frames = self.stream.frames or None
        # without what an edit list leaves out; in other formats key frames alone, or what is there
        index: Any = getattr(self.stream, "index_entries", ())
        cut = frames and self.container.format.name.startswith("mov") and len(index)
        return cut or frames

    def _video(self) -> Any:
        cover = require("av.stream", extra="video").Disposition.attached_pic
        streams = [s for s in self.container.streams.video if not s.disposition & cover]
        # FFmpeg opens any text as a picture drawn in characters
        if not streams or self.container.format.name == "tty":
            raise DataError(f"{self.name} holds no video")
        if streams[0].codec_context is None:
            raise DataError(
                f"{self.name}: this FFmpeg has no decoder for its video; convert it to H.264, or "
                "install an av that has the codec"
            )
        check_pixels(self.name, streams[0].codec_context.height, streams[0].codec_context.width)
        if self.threads is not None:
            streams[0].codec_context.thread_count = self.threads
        elif not self.live:
            # frames in parallel: faster, but delayed by as many
            streams[0].thread_type = "AUTO"
        return streams[0]


def _filled(file: BinaryIO, entry: Any) -> bool:
    """Whether the packet of an index's entry lies in the file, and is not of zeros alone."""
    file.seek(entry.pos)
    data = file.read(entry.size)
    # the packet of a frame that changes nothing is short
    return len(data) == entry.size and (len(data) < SHORT or any(data))


def _ends_in_zeros(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-min(SECTOR, path.stat().st_size), 2)
        return not any(file.read())


class Camera(VideoFile):
    """A camera of this machine, by number (Linux, macOS) or name (Windows)."""

    def __init__(self, which: str = "0"):
        kind, words = CAMERAS.get(platform.system(), CAMERAS["Linux"])
        try:
            super().__init__(words.format(which), name=f"camera:{which}", live=True, kind=kind)
        except (DataError, ValueError) as error:
            raise DataError(
                f"there is no camera {which!r} ({error}); connect one, or give a file or "
                "an rtsp:// address"
            ) from error


def local(path: Path) -> str:
    """Return the path as FFmpeg's own address: "12:30.mp4" is a file, and 12 no protocol."""
    return f"file:{path}"


def upright(frame: Any, *, packed: bool = True) -> Tensor:
    """Return the pixels of PyAV's frame as they are shown. Shape: (H, W, 3) uint8

    Args:
        packed: Without gaps between rows, which takes a copy.
    """
    pixels_HWC = torch.from_numpy(frame.to_ndarray(format="rgb24", threads=1))
    turn = turn_of_frame(frame)
    return pixels_HWC if turn == UPRIGHT and not packed else turn.apply(pixels_HWC)


@contextmanager
def decoded(name: str, *, piped: bool = False) -> Iterator[None]:
    """Turn FFmpeg's message into one sentence that names the source."""
    errors = require("av.error", extra="video")
    try:
        yield
    except (errors.FFmpegError, EOFError) as error:
        if isinstance(error, errors.InvalidDataError):
            why = "it is no video, or damaged or truncated"
            if piped:
                why += ", or an MP4 with its index at the end (write it with -movflags faststart)"
        elif isinstance(error, errors.DecoderNotFoundError):
            why = "this FFmpeg has no decoder for it; convert it to H.264"
        else:
            why = getattr(error, "strerror", None) or str(error)
        raise DataError(f"cannot read {name}: {why}") from error
