"""Regions: overlapping targets that are unions of classes, such as whole tumour and tumour core.

Source: the regions of BraTS (Menze et al., IEEE TMI 34, 2015), learnt with one sigmoid each as in
Isensee et al., nnU-Net for Brain Tumor Segmentation, 2020.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lean3d.errors import DataError

__all__ = ["Regions"]


@dataclass(frozen=True)
class Regions:
    """Named sets of classes, each pair nested or disjoint; outer ones come before inner ones.

    Args:
        names: Of the regions.
        classes: The classes of each.
        values: The class that a voxel gets in a mask if this is the innermost of its regions.
    """

    names: tuple[str, ...]
    classes: tuple[frozenset[int], ...]
    values: tuple[int, ...]

    @classmethod
    def read(cls, words: Sequence[str], num_classes: int) -> "Regions":
        """Read "WT=1,2,3", "TC=2,3", "ET=3".

        Raises:
            DataError: a region is not a name and classes, two overlap in part, or one has no class
                that is in no region after it.
        """
        parsed = [_parse(word, num_classes) for word in words]
        names = tuple(name for name, _ in parsed)
        classes = tuple(members for _, members in parsed)
        if len(set(names)) != len(names) or not names:
            raise DataError(f"regions need different names, got {', '.join(names) or 'none'}")
        values = []
        for place, own in enumerate(classes):
            for name, other in parsed[place + 1 :]:
                if own & other and not other < own:
                    raise DataError(
                        f"regions {names[place]} and {name} overlap, but the second is not inside "
                        "the first; give nested or disjoint regions, from the outermost"
                    )
            rest = own.difference(*classes[place + 1 :])
            if not rest:
                raise DataError(
                    f"every class of region {names[place]} is in a region after it, so that a mask "
                    "cannot hold it; leave it out"
                )
            values.append(min(rest))
        return cls(names, classes, tuple(values))

    def targets(self, label: Tensor) -> Tensor:
        """Return whether each voxel is in each region.

        Shape: (B, ...) classes -> (B, R, ...) bool, R regions.
        """
        members = [torch.tensor(sorted(c), device=label.device) for c in self.classes]
        return torch.stack([torch.isin(label, one) for one in members], dim=1)

    def mask(self, probabilities: Tensor) -> Tensor:
        """Return the class of each voxel from the probability of each region.

        Shape: (R, ...) -> (...) int64.
        """
        shape, device = probabilities.shape[1:], probabilities.device
        mask = torch.zeros(shape, dtype=torch.int64, device=device)
        for value, share in zip(self.values, probabilities, strict=True):
            mask[share > 0.5] = value
        return mask


def _parse(word: str, num_classes: int) -> tuple[str, frozenset[int]]:
    name, _, listed = word.partition("=")
    numbers = listed.split(",")
    if not name or not all(number.isdecimal() and len(number) < 9 for number in numbers):
        raise DataError(f"a region is a name and its classes, such as WT=1,2,3, got {word!r}")
    members = frozenset(map(int, numbers))
    if min(members) < 1 or max(members) >= num_classes:
        raise DataError(
            f"region {name} holds classes from 1 to {num_classes - 1}, got {listed}; the "
            "background is no region"
        )
    return name, members
