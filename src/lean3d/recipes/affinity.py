"""The settings of a run that learns affinities."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from lean3d.data import read_channels
from lean3d.errors import DataError
from lean3d.recipes.base import Recipe

__all__ = ["AffinityRecipe"]


@dataclass(frozen=True, kw_only=True)
class AffinityRecipe(Recipe):
    """A run on a volume of electron microscopy and the labels of its instances.

    Attributes:
        data: A file of a volume (TIFF, HDF5 as file.h5:volumes/raw, Zarr, ...), a folder of images
            and labels, or neurites, which are drawn.
        labels: The file of the labels of `data`, such as file.h5:volumes/labels/neuron_ids; a
            folder of images has its labels beside them.
        membranes: Labels are 0 on membranes and not inside cells, section by section, as those of
            the ISBI 2012 challenge; cells become instances.
        num_classes: Output channels; always the number of `channels`.
        in_channels: Channels of the images; 0 takes them from the data.
        channels: What the network says of every voxel: affinities to the neighbour at an offset (z1
            y1 x1, long-range z3 y9), foreground, boundary.
        voxel_nm: Size of a voxel (d h w) in nanometres; the file's own by default.
        held_out: Share of the sections of each volume, the last ones, that validate.
        patch: Size of a training crop: d h w for volumes, h w for sections by themselves.
        augment: Changes of training crops: mirror, turn, elastic, contrast, noise, missing, blurred
            and shifted sections.
        loss: The loss to minimise.
        balance: Weigh voxels that are together and apart alike.
        shrink: Voxels by which instances shrink before targets are made.
        sections: Sections are thick: instances shrink in the plane only, and are decoded section by
            section before they are joined. They are decoded so too if no channel is along z.
        scaling: Mean and deviation of each channel of the training sections; measured by default,
            and stored in the run.
    """

    task: ClassVar[str] = "affinities"
    sample: ClassVar[str] = "crops"
    measured: ClassVar[tuple[str, ...]] = ("num_classes", "in_channels")
    # a channel has a sigmoid of its own
    fewest: ClassVar[int] = 1

    patch: tuple[int, ...]
    channels: tuple[str, ...] = ("z1", "y1", "x1")
    labels: str | None = None
    membranes: bool = False
    voxel_nm: tuple[float, ...] | None = None
    held_out: float = 0.2
    augment: tuple[
        Literal["mirror", "turn", "elastic", "contrast", "noise", "missing", "blurred", "shifted"],
        ...,
    ] = ("mirror", "turn", "elastic", "contrast", "noise", "missing", "blurred", "shifted")
    loss: Literal["ce", "dice", "dice_ce"] = "ce"
    balance: bool = True
    shrink: int = 0
    sections: bool = False
    scaling: tuple[float, ...] | None = None

    @property
    def input_size(self) -> tuple[int, ...]:
        return self.patch

    @property
    def names(self) -> tuple[str, ...]:
        """The channels, once they are counted."""
        return self.channels[: self.num_classes]

    def check(self) -> None:
        """Refuse invalid values."""
        try:
            channels = read_channels(self.channels)
        except DataError:
            self.refuse("channels", "are names such as z1 y1 x1, foreground or boundary, once each")
        flat = all(c == "foreground" or c == "boundary" or not c[0] for c in channels)
        if len(self.patch) not in (2, 3) or min(self.patch) < 1:
            self.refuse("patch", "is h w for sections or d h w for volumes")
        offsets = [c[-len(self.patch) :] for c in channels if not isinstance(c, str)]
        if any(-o >= n for c in offsets for o, n in zip(c, self.patch, strict=True)):
            self.refuse("channels", f"are offsets within the patch, {self.patch}")
        if len(self.patch) == 2 and not flat:
            self.refuse("channels", "have no offsets along z for sections by themselves")
        if self.membranes and not flat:
            self.refuse("channels", "have no offsets along z where labels are membranes: say y1 x1")
        if self.voxel_nm is not None and (len(self.voxel_nm) != 3 or not min(self.voxel_nm) > 0):
            self.refuse("voxel_nm", "is three sizes above 0, d h w")
        if not 0 < self.held_out < 1:
            self.refuse("held_out", "is a share above 0 and below 1")
        if self.shrink < 0:
            self.refuse("shrink", "must be 0 or more")
        values = self.scaling
        if values is not None and (
            len(values) != 2 * self.in_channels or not all(v > 0 for v in values[1::2])
        ):
            self.refuse("scaling", "is a mean and a deviation above 0 for each channel")
        super().check()
