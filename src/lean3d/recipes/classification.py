"""Everything that decides a run that learns to name clips."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from lean3d.recipes.base import Recipe

__all__ = ["ClassificationRecipe"]


@dataclass(frozen=True, kw_only=True)
class ClassificationRecipe(Recipe):
    """A run on clips of video, one class a clip.

    Attributes:
        data: digits: gestures of scikit-learn's handwritten digits, drawn as they are needed.
        train_samples: Clips per epoch.
        val_samples: Clips to validate on; the same in every epoch.
        clip: Frames of a sample.
        video: Frames of the video a sample is a random piece of.
        size: Height and width of a frame.
        scoring: Of a model with an answer a frame: learn from and score the last, or every one.
    """

    task: ClassVar[str] = "classification"
    sample: ClassVar[str] = "clips"

    in_channels: int = 3
    clip: int = 19
    video: int = 32
    size: int = 32
    scoring: Literal["last", "every"] = "last"

    @property
    def input_size(self) -> tuple[int, ...]:
        return (self.clip, self.size, self.size)

    def check(self) -> None:
        """Refuse values that no run can have."""
        super().check()
        if not 2 <= self.clip <= self.video:
            self.refuse("clip", f"is 2 frames or more, at most the {self.video} of its video")
        if self.size < 16:
            self.refuse("size", "is 16 pixels or more")
