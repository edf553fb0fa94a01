"""Features of whole videos, on disk, and their augmentation for a recurrent head.

Paper: Köpüklü et al., Dissected 3D CNNs (D3D), arXiv:2009.14639, Sec 3.3
Differs from the paper: zero padding comes before a sample, not after it, so that the last output
is for a real frame. The paper does not give the share of a video replaced by noise: up to a
quarter here, in every second sample.

Axes: N videos, T time, F features.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lean3d.data.samples import Samples
from lean3d.errors import DataError
from lean3d.files import write_whole

__all__ = ["FeatureClips", "Variation", "read_features", "write_features"]


@dataclass(frozen=True)
class Variation:
    """Augmentation of a video's features; the defaults are the paper's.

    Args:
        shortest: Minimum features of a piece, whose length and place are random.
        longest: Maximum features of a piece; all of the video by default.
        slower: Probabilities of keeping every 2nd, 3rd and 4th feature only.
        erased: Probability that a piece of up to a quarter becomes noise.
        variance: Of the Gaussian noise on all features.
    """

    shortest: int = 16
    longest: int | None = None
    slower: tuple[float, ...] = (0.3, 0.14, 0.11)
    erased: float = 0.5
    variance: float = 0.005

    def apply(self, x_TF: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Return an augmented copy, at most as long."""
        kept = 1 - sum(self.slower)
        step = int(random.choice(len(self.slower) + 1, p=(kept, *self.slower))) + 1
        x_TF = x_TF[int(random.integers(step)) :: step]
        longest = min(self.longest or len(x_TF), len(x_TF))
        length = int(random.integers(min(self.shortest, longest), longest + 1))
        first = int(random.integers(len(x_TF) - length + 1))
        x_TF = x_TF[first : first + length].copy()
        if random.random() < self.erased:
            self._erase(x_TF, random)
        return x_TF + random.normal(0, self.variance**0.5, x_TF.shape)

    def _erase(self, x_TF: np.ndarray, random: np.random.Generator) -> None:
        """Replace some features by noise of equal strength, never the last one."""
        num = int(random.integers(1, max(len(x_TF) // 4, 1) + 1))
        first = int(random.integers(max(len(x_TF) - num, 1)))
        mean, spread = x_TF.mean(0), x_TF.std(0)
        x_TF[first : first + num] = random.normal(mean, spread, x_TF[first : first + num].shape)


class FeatureClips(Samples):
    """Features of videos with their classes; a sample is a video, or an augmented piece of one.

    Args:
        features_NTF: As `read_features` gives them; frames of zeros first are no frames.
        num: Samples an epoch.
        vary: The augmentation; None for whole videos, in order.

    Shape: (F, T) float32, zeros first where the piece is shorter than the videos; the class.
    """

    def __init__(
        self,
        features_NTF: np.ndarray,
        label_N: np.ndarray,
        num: int,
        seed: int = 0,
        vary: Variation | None = None,
    ):
        super().__init__(num, seed)
        self.features_NTF, self.label_N, self.vary = features_NTF, label_N, vary

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        random = self.random(index)
        video = index % len(self.label_N)
        x_TF = self.features_NTF[video]
        # zeros come first in those of a video that is shorter than others
        x_TF = x_TF[int(np.argmax(x_TF.any(1))) :]
        if self.vary is not None:
            x_TF = self.vary.apply(x_TF, random)
        missing = self.features_NTF.shape[1] - len(x_TF)
        whole_TF = np.pad(x_TF, ((missing, 0), (0, 0))).astype(np.float32)
        return torch.from_numpy(whole_TF.T.copy()), torch.tensor(int(self.label_N[video]))


def write_features(path: Path, features_NTF: Tensor, label_N: Tensor) -> None:
    """Write features and classes to `path`, a .npy of records, atomically."""
    num, frames, size = features_NTF.shape
    kind = np.dtype([("features", np.float32, (frames, size)), ("label", np.int64)])
    records = np.empty(num, kind)
    records["features"], records["label"] = features_NTF.numpy(), label_N.numpy()
    with write_whole(path) as temporary:
        np.save(temporary, records)


def read_features(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return features (N, T, F) and classes (N,), memory-mapped.

    Raises:
        DataError: the file is damaged, or of another kind.
    """
    try:
        records = np.load(path, mmap_mode="r")
        return records["features"], records["label"]
    except (OSError, ValueError, IndexError, EOFError) as error:
        raise DataError(f"cannot read features from {path}: {error}; delete it") from error
