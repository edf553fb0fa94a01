"""The settings of a classification run on clips."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from lean3d.data.frames import MOST_FPS
from lean3d.data.look import Crop
from lean3d.recipes.base import Recipe
from lean3d.recipes.look import check_look

__all__ = ["ClassificationRecipe"]


@dataclass(frozen=True, kw_only=True)
class ClassificationRecipe(Recipe):
    """A run on clips of video, one class a clip.

    Attributes:
        data: digits, gestures of handwritten digits; a folder with a folder of videos per class;
            or NAME:DIR, a published data set (docs/video_data.md).
        num_classes: Classes; 0 for those of the videos.
        split: Which of the published splits of the data set.
        train_samples: Clips per epoch.
        val_samples: Clips to validate on; the same in every epoch.
        clip: Frames of a sample.
        step: From each frame of a sample to the next, in frames of the video.
        fps: Frames per second to which videos are resampled first; their own by default.
        video: Frames of a whole video: of digits, and those that a recurrent head learns from.
        size: Height and width of a frame.
        width: Width of a frame, if it is not its height.
        crop: Part of the frame that a sample shows: scales, a part of one of four sizes anywhere;
            corners, one of them in a corner or the middle; short_side, a crop of the size after the
            frame is scaled; middle, always the same.
        short_side: Shorter side of the scaled frame, from and to; the smaller one to validate.
        flip: Mirror every second sample.
        augment_on: Where samples are resized, mirrored and normalised: in the processes that load
            them (loader), or on the device of the model by torchvision (device), which gives the
            same samples to rounding; auto, on the device if that is a GPU and torchvision is
            installed.
        directed: Names of classes with a direction, which are never mirrored.
        mean: Of each channel of pixels from 0 to 1; 0.45 by default.
        std: Likewise; 0.225 by default.
        held_out: Share of each class's videos that are kept for validation, where the data set has
            no part for it.
        test_share: Share of each class's videos that are kept for `lean3d evaluate`, likewise.
        group_by: A regular expression: videos in whose path it finds the same text stay in one
            part, such as _g[0-9]+_ for the groups of UCF101.
        skip_damaged: Leave damaged videos out and name them.
        scoring: Of a model with one output per frame: learn from and score the last, or every one.
        turn: Epochs per stage of alternating two-stage training on clips that are small in space
            or in time (STDCF); 0 to train on whole clips.
        stage_epochs: Epochs of every stage, instead of `turn`, in alternating two-stage training.
        stage_lr: Learning rate of every stage; `lr` by default. The schedule restarts with each.
        shrink: Spatial subsampling factor of the first stage.
        skip: Temporal subsampling factor of the second stage.
    """

    task: ClassVar[str] = "classification"
    sample: ClassVar[str] = "clips"
    measured: ClassVar[tuple[str, ...]] = ("num_classes",)

    in_channels: int = 3
    split: int = 1
    clip: int = 19
    step: int = 1
    fps: float | None = None
    video: int = 32
    size: int = 32
    width: int | None = None
    crop: Crop = "scales"
    short_side: tuple[int, ...] | None = None
    flip: bool = False
    augment_on: Literal["auto", "loader", "device"] = "auto"
    directed: tuple[str, ...] = ()
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    held_out: float = 0.2
    test_share: float = 0.0
    group_by: str | None = None
    skip_damaged: bool = False
    scoring: Literal["last", "every"] = "last"
    turn: int = 0
    stage_epochs: tuple[int, ...] = ()
    stage_lr: tuple[float, ...] = ()
    shrink: int = 2
    skip: int = 2

    @property
    def input_size(self) -> tuple[int, ...]:
        return (self.clip, *self.sides)

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of a frame."""
        return (self.size, self.width or self.size)

    @property
    def varied(self) -> bool:
        """Whether its samples are parts of the frames of videos."""
        return self.data != "digits"

    @property
    def staged(self) -> bool:
        """Whether it trains in stages on small clips."""
        return bool(self.turn or self.stage_epochs)

    def check(self) -> None:
        """Refuse invalid values."""
        super().check()
        if self.clip < 2:
            self.refuse("clip", "is 2 frames or more")
        if self.data == "digits" and self.clip > self.video:
            self.refuse("clip", f"is 2 frames or more, at most the {self.video} of its video")
        if not 0 < self.held_out < 1:
            self.refuse("held_out", "is a share between 0 and 1")
        if not 0 <= self.test_share < 1:
            self.refuse("test_share", "is a share from 0 up to, not including, 1")
        if self.turn < 0:
            self.refuse("turn", "must be 0 or more")
        self._check_stages()
        for name in ("shrink", "skip", "step", "split"):
            if getattr(self, name) < 1:
                self.refuse(name, "must be 1 or more")
        if self.fps is not None and not 0 < self.fps <= MOST_FPS:
            self.refuse("fps", f"is a rate above 0, at most {MOST_FPS}")
        check_look(self)
        if self.augment_on == "device" and not self.varied:
            self.refuse("augment_on", "is for runs on clips of videos alone")
        if self.directed and self.num_classes:
            unknown = [name for name in self.directed if name not in self.names]
            if unknown:
                self.refuse("directed", f"names no class: {', '.join(unknown)}")

    def _check_stages(self) -> None:
        if self.stage_epochs and (self.turn or min(self.stage_epochs) < 1):
            self.refuse("stage_epochs", "are 1 or more each, without turn")
        if self.stage_epochs and self.epochs > sum(self.stage_epochs):
            whole = sum(self.stage_epochs)
            self.refuse("epochs", f"are more than the {whole} of its stages (stage_epochs)")
        if not self.stage_lr:
            return
        if len(self.stage_lr) != len(self.stage_epochs) or min(self.stage_lr) <= 0:
            self.refuse("stage_lr", f"has {len(self.stage_epochs)} rates above 0, one a stage")
        if self.schedule in ("plateau", "cosine_step"):
            self.refuse("schedule", "has no rates of single stages (stage_lr)")
        if self.lr != self.stage_lr[0]:
            self.refuse("lr", f"is the rate of the first stage, {self.stage_lr[0]}")
