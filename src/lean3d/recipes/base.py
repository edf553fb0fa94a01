"""Everything that decides a run, as plain values."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from lean3d.errors import RunError

__all__ = ["Recipe"]


@dataclass(frozen=True)
class Recipe:
    """A segmentation run. Any field can be overridden by a flag of `lean3d train`.

    Attributes:
        name: Name of the recipe this came from.
        data: mni152, shapes2d, shapes3d, or a folder of NIfTI images and labels.
        num_classes: Classes, background included.
        class_names: Names of all classes, background first; their numbers by default.
        in_channels: Channels of the images.
        spacing_mm: Resample to voxels of this size; the files' own by default.
        held_out: Share of a folder's cases that are kept for validation.
        blocks: Volumes only: train on so few blocks, each as large as a patch; all by default.
        patch: Size of a training crop: d h w for volumes, h w for slices.
        axes: Slices only: cut across 0 (axial), 1 (coronal), 2 (sagittal).
        flips: Volumes only: axes along which every second crop is mirrored.
        min_foreground: Least share of a training crop that is not background.
        train_samples: Crops per epoch, or shapes in the training set.
        val_samples: Crops, or shapes, to validate on; the same in every epoch.
        model: A name of lean3d.list_models().
        conv: Operator of a 3D model, by name; the model's own by default.
        widths: Channels of the model's stages; the model's own by default.
        options: More arguments of the model, such as skip=full convs=1.
        convert: Turn the 2D model into 3D this way (acs, planar, inflate, ...).
        start_from: Folder of a finished run whose best weights the model starts with.
        loss: What is minimised.
        background: Count class 0 in the Dice loss.
        optimizer: What minimises it.
        lr: Learning rate.
        weight_decay: L2 penalty.
        momentum: Of sgd only.
        schedule: Of the learning rate: constant, or along half a cosine to 0 at the last epoch.
        epochs: Passes over the training set.
        patience: Stop after this many epochs without a better Dice; never by default.
        batch_size: Crops per step.
        precision: 32, or mixed with half precision.
        channels_last: Keep the channels of a voxel side by side in memory.
        workers: Processes that prepare crops.
        seed: Fixes the run.
    """

    name: str
    data: str
    num_classes: int
    patch: tuple[int, ...]
    model: str
    class_names: tuple[str, ...] | None = None
    in_channels: int = 1
    spacing_mm: float | None = None
    held_out: float = 0.2
    blocks: int | None = None
    axes: tuple[int, ...] = (0, 1, 2)
    flips: tuple[int, ...] = ()
    min_foreground: float = 0.01
    train_samples: int = 400
    val_samples: int = 100
    conv: str | None = None
    widths: tuple[int, ...] | None = None
    options: tuple[str, ...] = ()
    convert: str | None = None
    start_from: str | None = None
    loss: Literal["dice", "ce", "dice_ce"] = "dice_ce"
    background: bool = True
    optimizer: Literal["adam", "sgd"] = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    momentum: float = 0.9
    schedule: Literal["constant", "cosine"] = "constant"
    epochs: int = 20
    patience: int | None = None
    batch_size: int = 4
    precision: Literal["32", "bf16-mixed", "16-mixed"] = "32"
    channels_last: bool = False
    workers: int = 0
    seed: int = 0

    def check(self) -> None:
        """Refuse values that no run can have.

        Not done at construction: the command line would wrap the sentence in its usage message.
        """
        for name in ("train_samples", "val_samples", "batch_size", "epochs", "in_channels"):
            if getattr(self, name) < 1:
                self._refuse(name, "must be 1 or more")
        if self.blocks is not None and (self.blocks < 1 or len(self.patch) != 3):
            self._refuse("blocks", "is 1 or more, and only volumes have them")
        if not 2 <= self.num_classes <= 256:
            # a mask stores a class in a byte
            self._refuse("num_classes", "counts the background and must be from 2 to 256")
        if len(self.patch) not in (2, 3) or min(self.patch) < 1:
            self._refuse("patch", "is h w for slices or d h w for volumes")
        if self.class_names and len(self.class_names) != self.num_classes:
            self._refuse("class_names", f"must name {self.num_classes} classes")
        if self.class_names and len(set(self.class_names)) != self.num_classes:
            self._refuse("class_names", "must all differ")
        self._check_numbers()

    def _check_numbers(self) -> None:
        for name in ("lr", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                self._refuse(name, "must be 0 or more")
        for name in ("workers", "patience"):
            if (getattr(self, name) or 0) < 0:
                self._refuse(name, "must be 0 or more")
        if not 0 <= self.seed < 2**63:
            self._refuse("seed", "must be 0 or more and below 2**63")
        if not 0 <= self.momentum < 1:
            self._refuse("momentum", "is a share from 0 up to, not including, 1")
        if not 0 <= self.min_foreground <= 1:
            self._refuse("min_foreground", "is a share from 0 to 1")

    def _refuse(self, name: str, what: str) -> None:
        raise RunError(f"recipe {self.name}: {name} {what}, got {getattr(self, name)}")

    @property
    def names(self) -> tuple[str, ...]:
        """A name for every class."""
        numbers = tuple(str(number) for number in range(1, self.num_classes))
        return self.class_names or ("background", *numbers)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Recipe":
        """The inverse of `to_dict`, also after a trip through JSON, which knows no tuples."""
        known = {f.name for f in fields(cls)}
        if unknown := values.keys() - known:
            raise RunError(f"a recipe has no {', '.join(sorted(unknown))}; use this run's lean3d")
        given: dict[str, Any] = dict(values)
        for name, value in values.items():
            given[name] = tuple(value) if isinstance(value, list) else value
        try:
            return cls(**given)
        except TypeError as error:
            raise RunError(f"a recipe is not whole: {error}; use the run's own") from error
