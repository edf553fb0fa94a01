"""The settings of a run that trains a recurrent head on another run's features."""

from dataclasses import dataclass
from typing import ClassVar

from lean3d.recipes.classification import ClassificationRecipe

__all__ = ["RecurrenceRecipe"]


@dataclass(frozen=True, kw_only=True)
class RecurrenceRecipe(ClassificationRecipe):
    """A recurrent head on features of whole videos, stage two of D3D, Sec 3.3.

    Attributes:
        start_from: Folder of the run whose weights give the features; they are stored there too.
        train_samples: Pieces of videos per epoch.
        videos: Videos to compute features of.
        shortest: Features of the shortest piece.
        longest: Frames of a piece at most; the whole video by default.
        slower: Probabilities of keeping every 2nd, 3rd and 4th feature only.
        erased: Probability that up to a quarter of a piece is replaced by noise.
        variance: Of the Gaussian noise on all features.
    """

    task: ClassVar[str] = "recurrence"
    new_parts: ClassVar[tuple[str, ...]] = ("head.",)

    videos: int = 2000
    shortest: int = 16
    longest: int | None = None
    slower: tuple[float, ...] = (0.3, 0.14, 0.11)
    erased: float = 0.5
    variance: float = 0.005

    @property
    def varied(self) -> bool:
        # features are those of the middle of every frame
        return False

    def check(self) -> None:
        """Refuse invalid values."""
        super().check()
        if not self.start_from:
            self.refuse("start_from", "is the folder of the run that gives the features")
        if self.staged:
            self.refuse(
                "turn" if self.turn else "stage_epochs",
                "is for runs on clips; features have no space to shrink",
            )
        if self.videos < 1:
            self.refuse("videos", "must be 1 or more")
        longest = self.video if self.longest is None else self.longest
        if not 1 <= self.shortest <= longest <= self.video:
            self.refuse("shortest", f"is 1 or more, at most longest, at most video {self.video}")
        if not 0 <= sum(self.slower) <= 1 or min(self.slower, default=0) < 0:
            self.refuse("slower", "are probabilities whose sum is at most 1")
        if not 0 <= self.erased <= 1:
            self.refuse("erased", "is a probability")
        if not self.variance >= 0:
            self.refuse("variance", "must be 0 or more")
