"""How cases are predicted and scored."""

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import torch

from lean3d.errors import RunError
from lean3d.runtime.source import PRECISIONS

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """How cases are predicted and scored. An evaluation refuses what its task does not use.

    Attributes:
        batch_size: Samples, or windows, at a time; the recipe's by default.
        device: Where to compute.
        labels: File or folder of the labels of `data`, where these are volumes of neurons.
        overlap: Overlapping share of consecutive windows; the recipe's by default.
        tolerance_mm: Distance within which surfaces agree (surface Dice); one voxel by default,
            along the axis of the largest spacing.
        lesion_iou: A lesion is found if its intersection over union with the prediction is above
            this.
        surfaces: Compute distances of surfaces, the slowest of the scores.
        clips: Clips of a video, at equal distances.
        crops: Crops of a clip: the middle, or three along the longer side.
        stride: Instead of `clips`, every window whose first frame is so far from the previous one.
        whole: Instead of clips, the whole video at once.
        size: Height and width of a crop; those of the recipe by default.
        average: What is averaged over the clips of a video: probabilities, or logits.
        frames: Of a video of a person, this many at equal distances; all by default. Pairs are
            scored at several, 5, 25, 50 and 100 by default.
        others_only: Search among the videos that are no queries themselves.
        mirror: Axes (0 d, 1 h, 2 w) along which windows are mirrored as well; outputs are averaged.
        optimize: Run the network by the fastest backend, which is found at the first call.
        precision: What convolutions are computed in then. A run to compare with is in float32.
    """

    batch_size: int | None = None
    device: torch.device | str | None = None
    labels: str | None = None
    overlap: float | None = None
    tolerance_mm: float | None = None
    lesion_iou: float = 0.0
    surfaces: bool = True
    clips: int = 10
    crops: Literal[1, 3] = 1
    stride: int | None = None
    whole: bool = False
    size: int | None = None
    average: Literal["softmax", "logits"] = "softmax"
    frames: tuple[int, ...] = ()
    others_only: bool = False
    mirror: tuple[int, ...] = ()
    optimize: bool = False
    precision: Literal["float32", "bfloat16", "int8"] = "float32"

    def check(self) -> None:
        """Refuse values that mean nothing, before the work.

        Raises:
            RunError: names the setting.
        """
        cut = ", ".join(sorted(self.changed() & {"clips", "crops", "stride"}))
        windows = self.stride is not None and "clips" in self.changed()
        wrong = {
            "clips is 1 or more": self.clips < 1,
            "crops is 1 or 3": self.crops not in (1, 3),
            "stride is 1 or more": self.stride is not None and self.stride < 1,
            "size is 16 or more": self.size is not None and self.size < 16,
            "average is softmax or logits": self.average not in ("softmax", "logits"),
            "frames are 1 or more, each once": min(self.frames, default=1) < 1
            or len(set(self.frames)) < len(self.frames),
            f"whole takes a video at once; leave out {cut}": self.whole and bool(cut),
            "stride takes every window; leave out clips": windows,
            "batch_size is 1 or more": self.batch_size is not None and self.batch_size < 1,
            "overlap is a share from 0 up to, not including, 1": not 0 <= (self.overlap or 0) < 1,
            "lesion_iou is a share from 0 up to, not including, 1": not 0 <= self.lesion_iou < 1,
            "mirror has axes among 0, 1 and 2": not set(self.mirror) <= {0, 1, 2},
            "precision is for optimize alone": self.precision != "float32" and not self.optimize,
            "precision is float32, bfloat16 or int8": self.precision not in PRECISIONS,
            "tolerance_mm is 0 or more": not 0 <= (self.tolerance_mm or 0) < np.inf,
        }
        for what, failed in wrong.items():
            if failed:
                name = what.split()[0]
                got = "" if "leave out" in what else f", got {getattr(self, name)}"
                raise RunError(f"{what}{got}")

    def changed(self) -> set[str]:
        """Return the names of the fields that differ from their defaults."""
        return {f.name for f in fields(self) if getattr(self, f.name) != f.default}
