"""One vector for each video of a data set, kept in files so that a stopped command goes on.

Axes: C channels, E embedding, H height, N videos, S skips, T time, W width.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lean3d.data import Look, Tracklet
from lean3d.data.frame_times import FrameTimes
from lean3d.data.tracklet_clips import spread
from lean3d.data.tracklets import num_frames, read_tracklet
from lean3d.errors import RunError
from lean3d.files import write_whole
from lean3d.infer import Embedder, fuse
from lean3d.processes import place
from lean3d.recipes.identity import IdentityRecipe
from lean3d.recipes.tracklets import person_look
from lean3d.signals import check_stopped

__all__ = ["Vectors", "weights_key"]

# frames decoded at a time, and videos in a file of vectors
PIECE, BLOCK = 32, 256


class Vectors:
    """Turns the videos of persons into vectors with the network of a run.

    Args:
        model: Of the run, in eval mode.
        recipe: Of the run: what its frames look like, and how vectors are normalised.
        key: Of the weights: files of vectors of others are not read.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: IdentityRecipe,
        key: str,
        device: torch.device | str | None = None,
    ):
        self.recipe, self.key, self.look = recipe, key, person_look(recipe)
        frame = (recipe.in_channels, *recipe.sides)
        self.embedder = Embedder(model.eval().to(device or "cpu"), frame, window=recipe.clip)

    def of_video(
        self,
        tracklet: Tracklet,
        times: dict[Path, FrameTimes],
        num: int | None = None,
        skips: Sequence[int] = (0,),
    ) -> Tensor:
        """Return the vectors of a video, (S, E), on the CPU.

        Args:
            num: Frames at equal distances; all by default.
            skips: Frames at the start that do not count, for each vector.
        """
        length = num_frames(tracklet, times)
        numbers = range(length) if num is None else spread(length, num)
        found_TE = self.embedder.frames(looked_frames(tracklet, numbers, times, self.look))
        return torch.stack([fuse(found_TE, skip, self.recipe.normalise) for skip in skips])

    def of_all(
        self,
        tracklets: Sequence[Tracklet],
        times: dict[Path, FrameTimes],
        folder: Path,
        *,
        num: int | None = None,
        skips: Sequence[int] = (0,),
    ) -> Tensor:
        """Return the vectors of many videos, (N, S, E); those in `folder` are read.

        Raises:
            RunError: frames are to be skipped, and the network has no vectors of frames.
        """
        if any(skips) and not self.embedder.causal:
            raise RunError(
                f"recipe {self.recipe.name}: skip leaves frames out, and {self.recipe.model} has "
                "no vectors of frames; use --skip 0, or the option head=embedding of a D-ResNet"
            )
        firsts = range(0, len(tracklets), BLOCK)
        found: dict[int, Tensor] = {}
        own = place()
        # each process begins with blocks of its own, and reads those of the others at the end
        for number in sorted(range(len(firsts)), key=lambda n: ((n - own.rank) % own.size, n)):
            block = tracklets[firsts[number] : firsts[number] + BLOCK]
            path = folder / f"vectors_{self._key(block, num, skips)}.npy"
            vectors = _read(path, len(block))
            if vectors is None:
                vectors = self._block(block, times, num, skips)
                with write_whole(path) as temporary, temporary.open("wb") as file:
                    np.save(file, vectors.numpy())
            found[number] = vectors
        return torch.cat([found[number] for number in range(len(firsts))])

    def _block(
        self,
        block: Sequence[Tracklet],
        times: dict[Path, FrameTimes],
        num: int | None,
        skips: Sequence[int],
    ) -> Tensor:
        found = []
        for tracklet in block:
            check_stopped()
            found.append(self.of_video(tracklet, times, num, skips))
        return torch.stack(found)

    def _key(self, block: Sequence[Tracklet], num: int | None, skips: Sequence[int]) -> str:
        known = [(repr(tracklet), stamp(tracklet)) for tracklet in block]
        recipe = json.dumps(self.recipe.to_dict(), sort_keys=True)
        text = repr((self.key, recipe, num, tuple(skips), known))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def weights_key(run: Path) -> str:
    """Return a text that differs for other weights of a run."""
    path = run / "checkpoints" / "best.ckpt"
    path = path if path.is_file() else run / "model.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def stamp(tracklet: Tracklet) -> tuple[int, int]:
    """Return the size and time of a video file, or of the folder of the images."""
    found = tracklet.path.stat()
    return found.st_size, found.st_mtime_ns


def looked_frames(
    tracklet: Tracklet, numbers: Sequence[int], times: dict[Path, FrameTimes], look: Look
) -> Iterator[Tensor]:
    """Yield frames (C, height, width) as a network takes them, each by itself as in a stream."""
    for first in range(0, len(numbers), PIECE):
        for pixels_HWC in read_tracklet(tracklet, numbers[first : first + PIECE], times):
            yield look.apply([pixels_HWC], look.middle(pixels_HWC.shape[:2]))[:, 0]


def _read(path: Path, num: int) -> Tensor | None:
    """Return the vectors of a file; None if it is not there, or damaged."""
    try:
        found = np.load(path)
    except (OSError, ValueError, EOFError):
        return None
    return torch.from_numpy(found) if found.ndim == 3 and len(found) == num else None
