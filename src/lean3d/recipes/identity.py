"""The settings of a run that learns to tell persons, or faces, apart."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from lean3d.data.look import Crop
from lean3d.recipes.base import Recipe
from lean3d.recipes.look import check_look

__all__ = ["IdentityRecipe"]


@dataclass(frozen=True, kw_only=True)
class IdentityRecipe(Recipe):
    """A run on tracklets of persons, or videos of faces: one vector a video.

    Attributes:
        data: mars:DIR, or people:DIR, a folder with a folder of videos for each person
            (docs/identity.md).
        num_classes: Persons to train on; 0 for those of the data.
        embedding: Size of the vector; of option head=mean, the features of the model.
        camera: A regular expression with one group, which finds the camera in a video's path, where
            the layout does not name it.
        batch_size: Clips per step: `per_person` of each of several persons.
        per_person: Clips of a person in a batch.
        train_samples: Clips per epoch; 0 for as many as there are tracklets.
        val_samples: Tracklets of held-out persons to validate on, at most.
        clip: Frames of a sample.
        step: From each frame of a sample to the next.
        size: Height and width of a frame.
        width: Width of a frame, if it is not its height.
        crop: Part of the frame that a sample shows, as in recipes of videos.
        short_side: Shorter side of the scaled frame, from and to.
        flip: Mirror every second sample.
        blur: Share of the samples that get motion blur.
        mean: Of each channel of pixels from 0 to 1; 0.45 by default.
        std: Likewise; 0.225 by default.
        triplet: Weight of the hard triplet loss; 0 for cross-entropy alone.
        margin: Of the triplet loss.
        dropout: Before the layer that names the persons in training.
        normalise: To length 1 in a search: the vector of each frame, the mean of a video, both, or
            none of them.
        skip: Frames at the start of a video that do not count in a search.
        held_out: Share of the persons that are kept for validation, where the data have none.
        skip_damaged: Leave damaged videos out and name them.
    """

    task: ClassVar[str] = "identity"
    sample: ClassVar[str] = "clips"
    measured: ClassVar[tuple[str, ...]] = ("num_classes", "train_samples")

    num_classes: int = 0
    in_channels: int = 3
    train_samples: int = 0
    val_samples: int = 500
    embedding: int = 256
    camera: str | None = None
    batch_size: int = 32
    per_person: int = 4
    clip: int = 4
    step: int = 1
    size: int = 112
    width: int | None = None
    crop: Crop = "middle"
    short_side: tuple[int, ...] | None = None
    flip: bool = False
    blur: float = 0.0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    triplet: float = 1.0
    margin: float = 0.3
    dropout: float = 0.0
    normalise: Literal["none", "frames", "mean", "both"] = "mean"
    skip: int = 0
    held_out: float = 0.1
    skip_damaged: bool = False

    @property
    def input_size(self) -> tuple[int, ...]:
        return (self.clip, *self.sides)

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of a frame."""
        return (self.size, self.width or self.size)

    @property
    def num_outputs(self) -> int:
        return self.embedding

    @property
    def scored_names(self) -> tuple[str, ...]:
        """Of all persons together."""
        return ()

    @property
    def persons(self) -> int:
        """Persons of a batch."""
        return self.batch_size // self.per_person

    def check(self) -> None:
        """Refuse invalid values."""
        super().check()
        for name in ("embedding", "per_person", "clip", "step"):
            if getattr(self, name) < 1:
                self.refuse(name, "must be 1 or more")
        if self.batch_size % self.per_person or self.persons < 2:
            self.refuse(
                "batch_size", f"is per_person, {self.per_person}, times the persons, 2 or more"
            )
        if self.triplet and self.per_person < 2:
            self.refuse("per_person", "is 2 or more with a triplet loss; or pass --triplet 0")
        if not 0 < self.held_out < 1:
            self.refuse("held_out", "is a share between 0 and 1")
        for name in ("triplet", "margin", "skip"):
            if getattr(self, name) < 0:
                self.refuse(name, "is 0 or more")
        if not 0 <= self.dropout < 1:
            self.refuse("dropout", "is a share from 0 up to, not including, 1")
        if not 0 <= self.blur <= 1:
            self.refuse("blur", "is a share from 0 to 1")
        if self.in_channels not in (1, 3):
            self.refuse("in_channels", "is 3, or 1 for grey")
        check_look(self)
