"""The settings of a segmentation run."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from lean3d.recipes.base import Recipe

__all__ = ["SegmentationRecipe"]


@dataclass(frozen=True, kw_only=True)
class SegmentationRecipe(Recipe):
    """A segmentation run on volumes or slices; class 0 is the background.

    Attributes:
        data: mni152, shapes2d, shapes3d, or a folder of NIfTI images and labels.
        num_classes: Classes, background included.
        class_names: Names of all classes, background first; their numbers by default.
        train_samples: Crops per epoch, or shapes in the training set.
        val_samples: Crops, or shapes, to validate on; the same in every epoch.
        spacing_mm: Resample to voxels of this size; the files' own by default.
        held_out: Share of a folder's cases that are kept for validation.
        fold: Of cross-validation: hold out this one of `folds` equal parts of the cases instead.
        folds: Parts of a cross-validation.
        blocks: Volumes only: train on this many patch-sized blocks; all data by default.
        patch: Size of a training crop: d h w for volumes, h w for slices.
        axes: Slices only: cut across 0 (axial), 1 (coronal), 2 (sagittal).
        flips: Volumes only: axes along which every second crop is mirrored.
        min_foreground: Minimum share of a training crop that is not background.
        loss: The loss to minimise.
        background: Count class 0 in the Dice loss.
    """

    task: ClassVar[str] = "segmentation"
    sample: ClassVar[str] = "crops"

    patch: tuple[int, ...]
    spacing_mm: float | None = None
    held_out: float = 0.2
    fold: int | None = None
    folds: int = 5
    blocks: int | None = None
    axes: tuple[int, ...] = (0, 1, 2)
    flips: tuple[int, ...] = ()
    min_foreground: float = 0.01
    loss: Literal["dice", "ce", "dice_ce"] = "dice_ce"
    background: bool = True

    @property
    def input_size(self) -> tuple[int, ...]:
        return self.patch

    @property
    def names(self) -> tuple[str, ...]:
        """A name for every class, background first."""
        numbers = tuple(str(number) for number in range(1, self.num_classes))
        return self.class_names or ("background", *numbers)

    def check(self) -> None:
        """Refuse invalid values."""
        if self.num_classes > 256:
            # a mask stores a class in a byte
            self.refuse("num_classes", "counts the background and must be from 2 to 256")
        if self.blocks is not None and (self.blocks < 1 or len(self.patch) != 3):
            self.refuse("blocks", "is 1 or more, and only volumes have them")
        if len(self.patch) not in (2, 3) or min(self.patch) < 1:
            self.refuse("patch", "is h w for slices or d h w for volumes")
        if self.spacing_mm is not None and not self.spacing_mm > 0:
            self.refuse("spacing_mm", "must be above 0")
        if self.folds < 2:
            self.refuse("folds", "must be 2 or more")
        if self.fold is not None and not 0 <= self.fold < self.folds:
            self.refuse("fold", f"counts the {self.folds} parts from 0 to {self.folds - 1}")
        if not 0 <= self.min_foreground <= 1:
            self.refuse("min_foreground", "is a share from 0 to 1")
        super().check()
