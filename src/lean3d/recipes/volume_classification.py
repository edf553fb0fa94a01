"""The settings of a run that classifies whole volumes."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from lean3d.data.augment import Change
from lean3d.recipes.base import Recipe

__all__ = ["VolumeClassificationRecipe"]


@dataclass(frozen=True, kw_only=True)
class VolumeClassificationRecipe(Recipe):
    """A run on whole volumes, one class each.

    Attributes:
        data: classes:DIR (a folder for each class), csv:DIR (DIR/labels.csv), medmnist:FILE or
            another layout with classes (docs/data.md).
        num_classes: Classes; 0 takes them from the data.
        in_channels: Channels of the volumes; 0 takes them from the data.
        train_samples: Volumes per epoch; 0 for each volume once.
        val_samples: Volumes to validate on; 0 for all that are held out.
        size: Of a sample (d h w), in voxels; by default the median of the training volumes.
        fit: How volumes of other sizes come to it: resized, or cut and padded around the middle.
        shift: Move training samples by up to this many voxels along every axis, within volumes that
            are larger than the size by as much.
        flips: Axes along which every second training sample is mirrored.
        turns: Rotate training samples by right angles.
        augment: More changes of training samples, presets and single ones: light, nnunet, rotate,
            scale, elastic, mirror, noise, blur, brightness, contrast, low_resolution, gamma.
        spacing_mm: Resample to voxels of this size first; one number, or three for d h w.
        intensity: CT by its unit if all training volumes are CT, else zero mean and unit variance
            in every volume (auto); or the values of the files (none).
        scaling: Lower and upper value, mean and deviation of each channel; four zeros for zero mean
            and unit variance. Decided on the training volumes by default, and stored in the run.
        held_out: Share of each class that is kept for validation, where the data name no part.
        fold: Of cross-validation: hold out this one of `folds` equal parts of each class instead.
        folds: Parts of a cross-validation.
        balance: Weigh classes in the loss inversely to their number of training volumes.
        class_weights: The weights themselves, a number for each class; measured on the training
            volumes by default.
        ordinal: The classes have an order, that of their numbers or of `class_names`: learn whether
            each is exceeded.
    """

    task: ClassVar[str] = "volume_classification"
    sample: ClassVar[str] = "volumes"
    measured: ClassVar[tuple[str, ...]] = (
        "num_classes",
        "in_channels",
        "train_samples",
        "val_samples",
    )

    num_classes: int = 0
    in_channels: int = 0
    train_samples: int = 0
    val_samples: int = 0
    size: tuple[int, ...] = ()
    fit: Literal["resize", "crop"] = "resize"
    shift: int = 0
    flips: tuple[int, ...] = ()
    turns: bool = False
    augment: tuple[Change, ...] = ()
    spacing_mm: tuple[float, ...] | None = None
    intensity: Literal["auto", "none"] = "auto"
    scaling: tuple[float, ...] | None = None
    held_out: float = 0.2
    fold: int | None = None
    folds: int = 5
    balance: bool = True
    class_weights: tuple[float, ...] = ()
    ordinal: bool = False

    @property
    def input_size(self) -> tuple[int, ...]:
        return self.size

    @property
    def num_outputs(self) -> int:
        """One for each class, or for each threshold between two."""
        return self.num_classes - self.ordinal

    def check(self) -> None:
        """Refuse invalid values."""
        super().check()
        if self.size and (len(self.size) != 3 or min(self.size) < 1):
            self.refuse("size", "is d h w")
        if self.spacing_mm is not None and (
            len(self.spacing_mm) not in (1, 3) or min(self.spacing_mm) <= 0
        ):
            self.refuse("spacing_mm", "is one number above 0, or three for d h w")
        if self.shift < 0 or not set(self.flips) <= {0, 1, 2}:
            self.refuse("shift" if self.shift < 0 else "flips", "is 0 or more; axes are 0, 1, 2")
        if not 0 < self.held_out < 1:
            self.refuse("held_out", "is a share between 0 and 1")
        if self.folds < 2 or (self.fold is not None and not 0 <= self.fold < self.folds):
            self.refuse("fold", f"counts the {self.folds} parts (2 or more) from 0")
        if self.turns and self.size and self.size[1] != self.size[2]:
            self.refuse("turns", "needs a size of equal height and width")
        if self.class_weights:
            self.check_each("class_weights", "class", self.num_classes, positive=True)
        if self.scaling is not None:
            self.check_each("scaling", "channel", self.in_channels, each=4)
        if self.ordinal and self.num_classes == 2:
            self.refuse("ordinal", "is of three classes or more")
