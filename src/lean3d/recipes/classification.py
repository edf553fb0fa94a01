"""The settings of a classification run on clips."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from lean3d.recipes.base import Recipe

__all__ = ["ClassificationRecipe"]


@dataclass(frozen=True, kw_only=True)
class ClassificationRecipe(Recipe):
    """A run on clips of video, one class a clip.

    Attributes:
        data: digits, gestures of handwritten digits, or a folder with a folder of videos per class.
        train_samples: Clips per epoch.
        val_samples: Clips to validate on; the same in every epoch.
        clip: Frames of a sample.
        video: Frames of the video of digits that a sample is a random piece of.
        size: Height and width of a frame.
        held_out: Share of each class's videos that are kept for validation.
        scoring: Of a model with one output per frame: learn from and score the last, or every one.
        turn: Epochs per stage of alternating two-stage training on clips that are small in space
            or in time, for a network of atoms (STDCF); 0 to train on whole clips.
        shrink: Spatial subsampling factor of the first stage.
        skip: Temporal subsampling factor of the second stage.
    """

    task: ClassVar[str] = "classification"
    sample: ClassVar[str] = "clips"

    in_channels: int = 3
    clip: int = 19
    video: int = 32
    size: int = 32
    held_out: float = 0.2
    scoring: Literal["last", "every"] = "last"
    turn: int = 0
    shrink: int = 2
    skip: int = 2

    @property
    def input_size(self) -> tuple[int, ...]:
        return (self.clip, self.size, self.size)

    def check(self) -> None:
        """Refuse invalid values."""
        super().check()
        if not 2 <= self.clip <= self.video:
            self.refuse("clip", f"is 2 frames or more, at most the {self.video} of its video")
        if not 0 < self.held_out < 1:
            self.refuse("held_out", "is a share between 0 and 1")
        if self.size < 16:
            self.refuse("size", "is 16 pixels or more")
        if self.turn < 0:
            self.refuse("turn", "must be 0 or more")
        for name in ("shrink", "skip"):
            if getattr(self, name) < 1:
                self.refuse(name, "must be 1 or more")
