"""The settings of a segmentation run."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from lean3d.data import Masks, Regions
from lean3d.data.augment import Change
from lean3d.recipes.base import Recipe

__all__ = ["SegmentationRecipe"]


@dataclass(frozen=True, kw_only=True)
class SegmentationRecipe(Recipe):
    """A segmentation run on volumes or slices; class 0 is the background.

    Attributes:
        data: mni152, shapes2d, shapes3d, a folder of images and labels, or LAYOUT:DIR, such as
            lits:DIR (docs/data.md).
        num_classes: Classes, background included; 0 takes them from the data.
        class_names: Names of all classes, background first; those of the data, or their numbers.
        in_channels: Channels of the images; 0 takes them from the data.
        train_samples: Crops per epoch, or shapes in the training set.
        val_samples: Crops, or shapes, to validate on; the same in every epoch.
        validate: On crops of the held-out cases, or on whole held-out cases, window by window.
        regions: Learn these unions of classes, which may be nested, with a sigmoid each: a name and
            its classes, from the outermost, such as WT=1,2,3 TC=2,3 ET=3.
        masks: Learn these masks, which may overlap in any way, with a sigmoid each: at most 8 of
            those of a layout with a file for each mask (masks:DIR); all of them by default.
        spacing_mm: Resample to voxels of this size, one number or three for d h w; by default their
            median; no number keeps each file's own.
        intensity: How the voxels of each channel, or of all, become inputs: percentiles (clipped to
            those of the training set's foreground, less its mean, by its deviation), window (see
            hu), zscore (zero mean and unit variance in every scan), or none; auto is percentiles
            for CT and zscore for others.
        hu: Lower and upper value of a window that is scaled to 0 .. 1, such as -200 250.
        scaling: Lower and upper value, mean and deviation of each channel; four zeros for zscore.
            Measured on the training set by default, and stored in the run.
        label_values: The values in the label files that are the classes 0, 1, ...; by default the
            classes themselves, or grey values such as 0 and 255.
        held_out: Share of a folder's cases that are kept for validation.
        fold: Of cross-validation: hold out this one of `folds` equal parts of the cases instead.
        folds: Parts of a cross-validation.
        slabs: A single labelled scan: cut it into this many slabs, from which held_out or a fold
            choose; two by default, as many as folds with a fold.
        blocks: Volumes only: train on this many patch-sized blocks; all data by default.
        patch: Size of a training crop: d h w for volumes, h w for slices; for volumes by default of
            equal lengths along all axes. Of shapes2d and shapes3d the size that is drawn.
        axes: Slices only: cut across 0 (axial), 1 (coronal), 2 (sagittal).
        flips: Volumes only: axes along which every second crop is mirrored.
        turns: Volumes only: rotate crops of equal sides by right angles.
        middle: Volumes only: take crops around the middle, moved by at most this many voxels; those
            of validation are not moved. Anywhere by default.
        window: Volumes only: size of the windows of prediction; that of the crops by default.
        overlap: Overlapping share of consecutive windows of prediction.
        augment: Changes of training crops, presets and single ones: light, nnunet, rotate, scale,
            elastic, mirror, noise, blur, brightness, contrast, low_resolution, gamma.
        min_foreground: Minimum share of a training crop that is not background.
        oversample: Share of training crops around a voxel of a class, drawn among all classes, so
            that rare ones are seen as often as others.
        loss: The loss to minimise.
        background: Count class 0 in the Dice loss.
        class_weights: Weigh classes in the loss: a number for each, background first, or for each
            region or mask, such as 1 1 5; all equal by default.
        cache: Folder for the prepared scans, from which crops are then read: for data larger than
            memory, and to begin at once the next time. In memory by default.
        deep_supervision: Learn from this many coarser maps of the decoder too, each with half the
            weight of the one before, through heads that exist in training alone.
    """

    task: ClassVar[str] = "segmentation"
    sample: ClassVar[str] = "crops"
    measured: ClassVar[tuple[str, ...]] = ("num_classes", "in_channels")

    patch: tuple[int, ...] = ()
    spacing_mm: float | tuple[float, ...] | None = None
    intensity: tuple[Literal["auto", "percentiles", "window", "zscore", "none"], ...] = ("auto",)
    hu: tuple[float, ...] | None = None
    scaling: tuple[float, ...] | None = None
    label_values: tuple[int, ...] | None = None
    regions: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    validate: Literal["crops", "cases"] = "crops"
    held_out: float = 0.2
    fold: int | None = None
    folds: int = 5
    slabs: int | None = None
    blocks: int | None = None
    axes: tuple[int, ...] = (0, 1, 2)
    flips: tuple[int, ...] = ()
    turns: bool = False
    middle: int | None = None
    window: tuple[int, ...] = ()
    overlap: float = 0.5
    augment: tuple[Change, ...] = ()
    min_foreground: float = 0.01
    oversample: float = 0.0
    loss: Literal["dice", "ce", "dice_ce"] = "dice_ce"
    background: bool = True
    class_weights: tuple[float, ...] = ()
    cache: str | None = None
    deep_supervision: int = 0

    @property
    def input_size(self) -> tuple[int, ...]:
        return self.patch

    @property
    def names(self) -> tuple[str, ...]:
        """A name for every class, background first; of masks, for each combination."""
        if self.masks:
            return Masks(self.masks).combinations
        numbers = tuple(str(number) for number in range(1, self.num_classes))
        return self.class_names or ("background", *numbers)[: self.num_classes]

    @property
    def read_regions(self) -> Regions | Masks | None:
        """The regions or masks to learn; None for classes."""
        if self.masks:
            return Masks(self.masks)
        return Regions.read(self.regions, self.num_classes) if self.regions else None

    @property
    def num_outputs(self) -> int:
        """One for each class, region or mask."""
        return len(self.regions) or len(self.masks) or self.num_classes

    @property
    def scored_names(self) -> tuple[str, ...]:
        """Names of the foreground classes, or of the regions."""
        return self.names[1:] if self.read_regions is None else self.read_regions.names

    @property
    def activation(self) -> Literal["softmax", "sigmoid"]:
        """What turns the outputs of the model into probabilities."""
        return "sigmoid" if self.regions or self.masks else "softmax"

    @property
    def whole_cases(self) -> bool:
        """Whether validation is on whole cases; generated samples are whole anyway."""
        return self.validate == "cases" and not self.data.startswith("shapes")

    @property
    def sides_mm(self) -> tuple[float, float, float] | None:
        """The spacing along d, h, w."""
        if self.spacing_mm is None or self.spacing_mm == ():
            return None
        given = self.spacing_mm
        sides = (given,) * 3 if isinstance(given, int | float) else tuple(given)
        depth, height, width = sides * 3 if len(sides) == 1 else sides
        return (depth, height, width)

    @classmethod
    def renewed(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Runs that store no scale were trained with zero mean and unit variance in every scan."""
        channels = values.get("in_channels", 1)
        old = "intensity" not in values and isinstance(channels, int) and 0 < channels < 10_000
        return values | {"scaling": [0.0] * 4 * channels} if old else values

    def check(self) -> None:
        """Refuse invalid values."""
        if self.num_classes > 256:
            # a mask stores a class in a byte
            self.refuse("num_classes", "counts the background and must be from 2 to 256")
        if self.masks and self.regions:
            self.refuse("masks", "are given beside regions; leave one of them out")
        if self.masks and self.num_classes not in (0, 2 ** len(Masks(self.masks).names)):
            self.refuse("num_classes", f"is 0 for {len(self.masks)} masks")
        if self.blocks is not None and (self.blocks < 1 or len(self.patch) != 3):
            self.refuse("blocks", "is 1 or more, and only volumes have them")
        if self.patch and (len(self.patch) not in (2, 3) or min(self.patch) < 1):
            self.refuse("patch", "is h w for slices or d h w for volumes")
        if len(self.window) not in (0, 3) or (self.window and min(self.window) < 1):
            self.refuse("window", "is d h w")
        if not 0 <= self.overlap < 1:
            self.refuse("overlap", "is a share from 0 up to, not including, 1")
        if (self.middle or 0) < 0:
            self.refuse("middle", "is 0 or more voxels")
        if self.turns and self.patch and (len(self.patch) != 3 or len(set(self.patch)) != 1):
            self.refuse("turns", "needs a patch of three equal sides")
        self._check_scales()
        if self.folds < 2:
            self.refuse("folds", "must be 2 or more")
        if self.slabs is not None and self.slabs < 2:
            self.refuse("slabs", "must be 2 or more")
        if self.fold is not None and not 0 <= self.fold < self.folds:
            self.refuse("fold", f"counts the {self.folds} parts from 0 to {self.folds - 1}")
        if self.num_classes:
            _ = self.read_regions
        if self.class_weights:
            what = "region" if self.regions else "mask" if self.masks else "class"
            self.check_each("class_weights", what, self.num_outputs, positive=True)
        if self.deep_supervision < 0:
            self.refuse("deep_supervision", "must be 0 or more")
        for name in ("min_foreground", "oversample"):
            if not 0 <= getattr(self, name) <= 1:
                self.refuse(name, "is a share from 0 to 1")
        if self.oversample and self.middle is not None:
            self.refuse(
                "oversample",
                "is for crops taken anywhere, not around the middle (middle)",
            )
        super().check()

    def _check_scales(self) -> None:
        sides = self.spacing_mm if isinstance(self.spacing_mm, tuple) else (self.spacing_mm or 1,)
        if sides and (len(sides) not in (1, 3) or self.spacing_mm == 0 or not min(sides) > 0):
            self.refuse("spacing_mm", "is one number above 0, or three for d h w")
        if self.hu is not None and (len(self.hu) != 2 or not self.hu[0] < self.hu[1]):
            self.refuse("hu", "is a lower and an upper value, such as -200 250")
        if self.hu is None and "window" in self.intensity:
            self.refuse("intensity", "window needs hu, its lower and upper value")
        if not self.intensity:
            self.refuse("intensity", "has one value, or one for each channel")
        values = self.scaling
        if values is not None:
            self.check_each("scaling", "channel", self.in_channels, each=4)
        if values is not None and any(
            not (values[i + 3] > 0 and values[i] < values[i + 1]) and any(values[i : i + 4])
            for i in range(0, len(values), 4)
        ):
            self.refuse("scaling", "is lower < upper, mean, deviation > 0, or four zeros")
        if self.label_values is not None:
            self.check_each("label_values", "class", self.num_classes)
            if len(set(self.label_values)) != len(self.label_values):
                self.refuse("label_values", "has a number twice")
