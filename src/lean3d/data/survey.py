"""What labelled scans are like: sizes, spacings, channels, classes, and foreground values."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from lean3d.data.intensity import is_ct
from lean3d.data.volume import Volume
from lean3d.errors import DataError

__all__ = ["Facts", "Survey", "facts_of", "survey"]

# foreground voxels of a case whose values are kept, evenly spaced, as nnU-Net keeps them
KEPT = 10_000


@dataclass(frozen=True, eq=False)
class Facts:
    """One case.

    Args:
        shape: (D, H, W).
        spacing: In mm along D, H, W.
        placed: Whether the file says how large its voxels are.
        counts: Voxels of each value of the label.
        ct: Of each channel, whether its values are HU.
        values: (C, n), values of some foreground voxels.
    """

    name: str
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    placed: bool
    counts: dict[int, int]
    ct: tuple[bool, ...]
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class Survey:
    """All cases."""

    cases: tuple[Facts, ...]

    @property
    def channels(self) -> int:
        """Channels of every case.

        Raises:
            DataError: cases differ.
        """
        first = self.cases[0]
        for case in self.cases:
            if len(case.ct) != len(first.ct):
                raise DataError(
                    f"case {case.name} has {len(case.ct)} channels where {first.name} has "
                    f"{len(first.ct)}; give every case the same channels"
                )
        return len(first.ct)

    @property
    def counts(self) -> dict[int, int]:
        """Voxels of each value of the labels, of all cases."""
        total: dict[int, int] = {}
        for case in self.cases:
            for value, count in case.counts.items():
                total[value] = total.get(value, 0) + count
        return dict(sorted(total.items()))

    def ct(self, channel: int) -> bool:
        """Whether a channel is a CT in every case."""
        return all(case.ct[channel] for case in self.cases)

    def values(self, channel: int, names: Sequence[str] | None = None) -> np.ndarray:
        """Values of foreground voxels, of the cases named or of all."""
        chosen = [case for case in self.cases if names is None or case.name in names]
        return np.concatenate([case.values[channel] for case in chosen])


def facts_of(volume: Volume) -> Facts:
    """Look at one labelled volume with the values of its file."""
    if volume.label is None:
        raise DataError(f"{volume.name} has no label; add it, or move the scan away")
    label = volume.label.numpy().ravel()
    values, counts = np.unique(label, return_counts=True)
    inside = np.flatnonzero(label)
    # a case of background alone still has values
    inside = inside if len(inside) else np.arange(label.size)
    some = inside[:: max(1, len(inside) // KEPT)]
    return Facts(
        volume.name,
        tuple(volume.image.shape[1:]),
        volume.spacing,
        volume.placed,
        dict(zip(values.tolist(), counts.tolist(), strict=True)),
        tuple(is_ct(x_DHW, volume.modality) for x_DHW in volume.image),
        volume.image.flatten(1).numpy()[:, some],
    )


def survey(volumes: Iterable[Volume]) -> Survey:
    """Look at labelled volumes one by one."""
    return Survey(tuple(facts_of(volume) for volume in volumes))
