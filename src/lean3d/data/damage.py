"""Videos of which a part cannot be decoded: each is named once, in whichever process meets it."""

import sys
from collections.abc import Iterable
from pathlib import Path

import torch

from lean3d.data.video import VideoFile
from lean3d.errors import DataError

__all__ = ["Damage"]

# of a longer video the damage is not counted, only named: that takes as long as it does to decode
MOST_FRAMES = 20_000


class Damage:
    """Which of these videos were named; the processes that load from one data set share it."""

    def __init__(self, paths: Iterable[Path]):
        self.places = {path: place for place, path in enumerate(dict.fromkeys(paths))}
        self.said = torch.zeros(len(self.places), dtype=torch.bool).share_memory_()

    def met(self, path: Path, frames: int) -> None:
        """Say on stderr how much of a video cannot be decoded, the first time that it is met."""
        place = self.places[path]
        if self.said[place]:
            return
        self.said[place] = True
        what = counted(path) if frames <= MOST_FRAMES else "packets"
        print(
            f"lean3d: {path}: {what} could not be decoded; frames beside them take their place",
            file=sys.stderr,
            flush=True,
        )


def counted(path: Path) -> str:
    """Return how many packets cannot be decoded, and how many frames are there in part."""
    video, shown = VideoFile(path), 0
    try:
        shown = sum(frame.is_corrupt for frame in video.frames())
    except DataError:  # it ends the way it began
        pass
    finally:
        video.close()
    found = {"packet(s)": video.damaged, "part(s) of frames": shown}
    return " and ".join(f"{num} {what}" for what, num in found.items() if num) or "packets"
