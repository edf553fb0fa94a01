"""Open a source of frames from a user's text."""

import re
import sys
from pathlib import Path

from lean3d.data.frames import FrameSource
from lean3d.data.pipe import Piped, RawFrames, read_raw_size
from lean3d.data.stills import SUFFIXES, ImageFolder
from lean3d.data.video import Camera, VideoFile
from lean3d.errors import DataError

__all__ = ["open_frames", "public_name"]

NETWORK = ("rtsp://", "rtsps://", "rtmp://", "udp://", "tcp://", "http://", "https://")
# also one that a path or a typing error has left with one slash
ADDRESS = re.compile(r"[A-Za-z][\w+.-]{1,20}:[/\\]{1,3}")


def open_frames(what: str, *, raw: str | None = None, fps: float | None = None) -> FrameSource:
    """Frames of a file, a folder of images, a camera, an address or stdin.

    Args:
        what: A path; "camera" or "camera:1"; rtsp://... and the like; "-" for stdin.
        raw: Stdin is bare rgb24 frames of this size: 640x480 or 640x480@30.
        fps: Of a folder of images, 25 by default.

    Raises:
        DataError: it does not exist, or is not a video; one sentence that names it.
    """
    if what == "-":
        return _stdin(raw)
    kind, _, which = what.partition(":")
    if kind == "camera":
        return Camera(which or "0")
    if what.lower().startswith(NETWORK):
        options = {"rtsp_transport": "tcp"} if kind.lower().startswith("rtsp") else {}
        return VideoFile(what, name=public_name(what), live=True, options=options)
    path = Path(what)
    if path.is_dir():
        return ImageFolder(path, fps or 25.0)
    if not path.exists():
        raise DataError(f"there is no file or folder {what}")
    if path.suffix.lower() in SUFFIXES:
        raise DataError(f"{what} is one image; give the folder that holds all frames")
    return VideoFile(path)


def public_name(what: str) -> str:
    """Return the source without the passwords of its address, for files, tables and messages."""
    if not ADDRESS.match(what):
        return what
    address = re.sub(r":([/\\]{1,3}).*@", r":\1", what)
    return re.sub(r"([?&;][^=&;]*)=[^&;]*", r"\1=***", address)


def _stdin(raw: str | None) -> FrameSource:
    if raw is None:
        return VideoFile(Piped(sys.stdin.buffer), name="stdin")
    width, height, rate = read_raw_size(raw)
    return RawFrames(Piped(sys.stdin.buffer), width, height, rate)
