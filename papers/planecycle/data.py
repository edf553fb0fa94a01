"""Images to learn weights from, and volumes to use them on: shapes that are drawn, and a brain.

Axes: B batch, C channels, D depth, H height, W width.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lean3d.data import SHAPES_2D, SHAPES_3D, Shapes2D, Shapes3D
from lean3d.data.brain import TISSUES, brain_slabs, mni152
from lean3d.data.shapes import NOISE, solid

__all__ = ["DATA", "Brain", "Drawn", "store_brain"]

Pair = tuple[Tensor, Tensor]
SOLIDS = SHAPES_3D[1:]
SMALLEST = 9


def _stacked(samples: object) -> Pair:
    images, labels = zip(*samples, strict=True)  # type: ignore[call-overload]
    return torch.stack(images), torch.stack(labels)


@dataclass(frozen=True)
class Drawn:
    """Circles and squares to learn from; solids to recognise and to segment."""

    size: int = 32
    classes_2d: int = len(SHAPES_2D)
    classes_3d: int = len(SHAPES_3D)

    def images(self, count: int, seed: int) -> Pair:
        return _stacked(Shapes2D(count, 7 * seed, size=self.size)[i] for i in range(count))

    def labelled(self, count: int, seed: int, held_out: bool) -> Pair:
        """Return volumes with the class of every voxel."""
        shapes = Shapes3D(count, 7 * seed + 1 + held_out, size=self.size)
        return _stacked(shapes[i] for i in range(count))

    def classified(self, count: int, seed: int, held_out: bool) -> Pair:
        """Return volumes of one solid in noise, and which it is."""
        random = np.random.default_rng(7 * seed + 3 + held_out)
        volumes, classes = [], []
        for place in range(count):
            kind = place % len(SOLIDS)
            width, height = random.integers(SMALLEST, 2 * self.size // 3, 2, endpoint=True).tolist()
            name = SOLIDS[kind]
            mask = solid(name, width, width if name in ("sphere", "cube") else height)
            mask = np.moveaxis(mask, 0, int(random.integers(3)))
            mask = np.flip(mask, int(random.integers(3)))
            volume = NOISE * random.standard_normal((self.size,) * 3)
            start = [int(random.integers(0, self.size - n, endpoint=True)) for n in mask.shape]
            where = tuple(slice(s, s + n) for s, n in zip(start, mask.shape, strict=True))
            volume[where] += mask
            volumes.append(torch.from_numpy(volume).float()[None])
            classes.append(kind)
        return torch.stack(volumes), torch.tensor(classes)


@dataclass(frozen=True)
class Brain:
    """Slices of the MNI152 brain to learn from, its other slab to recognise and to segment.

    Args:
        file: What `store_brain` wrote; None to ask nilearn.
    """

    file: Path | None = None
    size: int = 32
    classes_2d: int = len(TISSUES)
    classes_3d: int = len(TISSUES)

    def images(self, count: int, seed: int) -> Pair:
        volumes, labels = self._cut(count, 7 * seed, False)
        middle = self.size // 2
        return volumes[:, :, middle], labels[:, middle]

    def labelled(self, count: int, seed: int, held_out: bool) -> Pair:
        return self._cut(count, 7 * seed + 1, held_out)

    def classified(self, count: int, seed: int, held_out: bool) -> Pair:
        """Return volumes, and the tissue in their middle."""
        volumes, labels = self._cut(count, 7 * seed + 3, held_out)
        middle = self.size // 2
        return volumes, labels[:, middle, middle, middle] - 1

    def _slab(self, held_out: bool) -> Pair:
        if self.file is None:
            part = brain_slabs(mni152(2))[held_out]
            assert part.label is not None
            return part.image, part.label
        stored = np.load(self.file)
        name = "test" if held_out else "train"
        image = torch.from_numpy(stored[f"{name}_image"].astype(np.float32))
        return image, torch.from_numpy(stored[f"{name}_label"].astype(np.int64))

    def _cut(self, count: int, seed: int, held_out: bool) -> Pair:
        image, label = self._slab(held_out)
        pads = [max(0, self.size - n) for n in label.shape]
        around = [side for pad in reversed(pads) for side in (pad // 2, pad - pad // 2)]
        image = torch.nn.functional.pad(image, around)
        label = torch.nn.functional.pad(label, around)
        random = np.random.default_rng(seed + 1000 * held_out)
        half = self.size // 2
        inside = torch.zeros_like(label, dtype=torch.bool)
        inside[half : -half or None, half : label.shape[1] - half + 1, half : -half or None] = True
        volumes, labels = [], []
        for place in range(count):
            kind = 1 + place % 3
            at = ((label == kind) & inside).nonzero()
            middle = at[int(random.integers(len(at)))].tolist()
            cut = tuple(slice(m - half, m - half + self.size) for m in middle)
            volumes.append(image[(slice(None), *cut)])
            labels.append(label[cut])
        return torch.stack(volumes), torch.stack(labels)


def store_brain(path: Path) -> None:
    """Write the two slabs of the brain, for machines without nilearn."""
    train, test = brain_slabs(mni152(2))
    assert train.label is not None
    assert test.label is not None
    np.savez_compressed(
        path,
        train_image=train.image.numpy().astype(np.float16),
        train_label=train.label.numpy().astype(np.uint8),
        test_image=test.image.numpy().astype(np.float16),
        test_label=test.label.numpy().astype(np.uint8),
    )


DATA = {"shapes": Drawn, "brain": Brain}
