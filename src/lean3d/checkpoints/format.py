"""Description of one published format of weights.

A format is recognised by its keys, gives each key its name in lean3d, and holds facts missing from
the keys: the epsilon of the batch norms, the pool behind the stem, how clips were prepared.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lean3d.errors import DataError
from lean3d.shape import Triple

__all__ = [
    "Facts",
    "Format",
    "Preprocessing",
    "Tensors",
    "named_as_here",
    "one_scheme",
    "sizes",
    "untracked",
]

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Preprocessing:
    """Preprocessing of the clips or volumes that a network was trained on.

    Args:
        mean: Of each channel, on the scale of `white`; None if each volume has its own.
        std: Likewise.
        white: The largest value of a pixel before `mean` is subtracted, 1 or 255.
        frames: Of a clip; None if unknown.
        step: Temporal subsampling factor of the video.
        fps: Frames per second to which the video was resampled first.
        size: Height and width of the crop.
        short_side: Size to which the shorter of height and width was scaled before the crop.
        note: Further remarks.
    """

    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    white: float = 1.0
    frames: int | None = None
    step: int | None = None
    fps: float | None = None
    size: int | None = None
    short_side: int | None = None
    note: str = ""

    def normalise(self, clip_BCTHW: Tensor) -> Tensor:
        """Preprocess clips with pixels from 0 to 255, such as uint8, as in training.

        Raises:
            ValueError: the weights are known without a mean and deviation.
        """
        if self.mean is None or self.std is None:
            raise ValueError(f"these weights have no mean and std of their own: {self.note}")
        given: dict[str, Any] = dict(device=clip_BCTHW.device, dtype=torch.float32)
        mean, std = (torch.tensor(v, **given)[:, None, None, None] for v in (self.mean, self.std))
        return (clip_BCTHW.float() * (self.white / 255) - mean) / std

    def __str__(self) -> str:
        known = [f"pixels 0 to {self.white:g}, mean {self.mean}, std {self.std}"]
        known = known if self.mean is not None else []
        named = {"frames": self.frames, "step": self.step, "fps": self.fps}
        named |= {"short side": self.short_side, "crop": self.size}
        known += [f"{name} {value:g}" for name, value in named.items() if value is not None]
        return "; ".join([*known, *filter(None, [self.note])])


@dataclass(frozen=True)
class Facts:
    """Facts missing from the keys of a file.

    Args:
        eps: Of every batch norm; None to leave the model's.
        pools: Allowed kernels of the pool behind the stem, None for no pool; empty for any.
        stem_stride: Of the first convolution; None for any.
        other_eps: Of batch norms with another one: pattern of their names -> epsilon.
        arguments: For create_model.
    """

    eps: float | None = None
    pools: tuple[Triple | None, ...] = ()
    stem_stride: Triple | None = None
    preprocessing: Preprocessing | None = None
    other_eps: Mapping[str, float] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def epsilon(self, norm: str) -> float | None:
        """The epsilon of the batch norm of that name."""
        found = (eps for pattern, eps in self.other_eps.items() if re.search(pattern, norm))
        return next(found, self.eps)


@dataclass(frozen=True)
class Format:
    """One published format.

    Args:
        what: Origin of the files, for people.
        owns: Whether a file is of this format.
        names: Key of the file -> name in lean3d.
        facts: By the tensors under their names in lean3d.
        spare: Pattern of names that are not weights of the network.
        value: Tensor of the file -> tensor of lean3d.
        fallback: It owns files of any names, so that it is tried after the others.
        inflates: Its 2D kernels are repeated over the frames of the model's.
        lacks: Pattern of names that only some of its networks have, of the others' files.
    """

    name: str
    what: str
    owns: Callable[[Tensors], bool]
    names: Callable[[Tensors], dict[str, str]]
    facts: Callable[[Tensors], Facts]
    spare: str = r"(?!)"
    value: Callable[[Tensor], Tensor] = lambda tensor: tensor
    fallback: bool = False
    inflates: bool = False
    lacks: str = r"(?!)"


def named_as_here(tensors: Tensors) -> dict[str, str]:
    """No key changes."""
    return {key: key for key in tensors}


def one_scheme(rules: Sequence[tuple[str, str]]) -> Callable[[Tensors], dict[str, str]]:
    """Rename by substitutions, tried in order; only the first that applies is used."""
    compiled = [(re.compile(pattern), name) for pattern, name in rules]

    def rename(key: str) -> str:
        for pattern, name in compiled:
            if pattern.match(key):
                return pattern.sub(name, key, count=1)
        return key

    return lambda tensors: {key: rename(key) for key in tensors}


def sizes(tensors: Tensors, name: str, axes: int) -> tuple[int, ...]:
    """Return the shape of a tensor that tells a network apart.

    Raises:
        DataError: it has another number of axes, or one is empty.
    """
    found = tuple(tensors[name].shape)
    if len(found) != axes or 0 in found:
        raise DataError(
            f"{name} has shape {found}, where weights with {axes} axes and none of size 0 were "
            "expected; another program changed the file: save it again from its network"
        )
    return found


def untracked(tensors: Tensors) -> bool:
    """Whether no batch norm counted a batch in PyTorch: the weights are from elsewhere."""
    return not any(v.any() for k, v in tensors.items() if k.endswith("num_batches_tracked"))
