"""Moving digits: real handwritten digits that move in gestures on a coloured background.

scikit-learn's copy of the UCI Optical Recognition of Handwritten Digits: 1,797 images of 8 x 8. The
class of a video is its motion, independent of the digit. No image is in both splits. The place and
the angle of the first frame are uniform over the frame, whose opposite edges are joined: so one
frame alone carries no information about a class that only shifts or turns.

Axes: C channels, T time, H height, W width.
"""

from functools import cache
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lean3d.data.motions import MOTIONS, draw_motion, path
from lean3d.data.pixels import normalise_pixels
from lean3d.data.samples import Samples
from lean3d.errors import DataError
from lean3d.optional import require

__all__ = ["MovingDigits", "digit_images", "draw_poses"]

# every fifth image of the 1,797
HELD_OUT = 5
GREY_NOISE = 0.03


class MovingDigits(Samples):
    """`num` videos, each of one digit with one of the gestures of MOTIONS.

    Args:
        split: "train" and "val" share no image of a digit.
        frames: Of a video; its gesture takes all of them.
        clip: Frames of a sample, from a random place of its video; the whole video by default.
        size: Height and width.

    Shape: (3, clip, size, size) float32, as `normalise_pixels` gives, and the index in MOTIONS.

    Raises:
        DataError: a clip of one frame or longer than its video, or a size below 16.
    """

    def __init__(
        self,
        num: int,
        seed: int = 0,
        *,
        split: Literal["train", "val"] = "train",
        frames: int = 32,
        clip: int | None = None,
        size: int = 32,
    ):
        super().__init__(num, seed)
        self.frames, self.clip, self.size = frames, clip or frames, size
        if not 2 <= self.clip <= frames or size < 16:
            raise DataError(
                f"MovingDigits needs a clip of 2 frames or more, no longer than its video, and a "
                f"size of at least 16, got clip {clip}, frames {frames} and size {size}"
            )
        self.split, self.images = split, digit_images(split)

    @property
    def key(self) -> str:
        """Return a unique name of these videos, for files made from them."""
        return f"{self.split}_{len(self)}x{self.clip}x{self.size}_seed{self.seed}"

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        pixels_TCHW, label = self.pixels(index)
        return normalise_pixels(pixels_TCHW).transpose(0, 1), torch.tensor(label)

    def pixels(self, index: int) -> tuple[Tensor, int]:
        """Return the clip before it is normalised, (T, 3, H, W) from 0 to 1, and its class."""
        random = self.random(index)
        label = index % len(MOTIONS)
        image = self.images[int(random.integers(len(self.images)))]
        poses_T4 = draw_poses(MOTIONS[label], self.frames, random)
        first = int(random.random() * (self.frames - self.clip + 1))
        ink_THW = _ink(image, poses_T4[first : first + self.clip], self.size)
        return _paint(ink_THW, random), label


@cache
def digit_images(split: Literal["train", "val"]) -> Tensor:
    """The digits of a split, (N, 8, 8) from 0 to 1."""
    digits = require("sklearn.datasets", extra="train").load_digits().images / 16
    held_out = np.arange(len(digits)) % HELD_OUT == 0
    return torch.from_numpy(digits[held_out if split == "val" else ~held_out]).float()


def draw_poses(name: str, frames: int, random: np.random.Generator) -> np.ndarray:
    """Draw a gesture from a random place and angle, at a random size: (frames, 4)."""
    place = random.uniform(-1, 1, 2)
    angle = random.uniform(-np.pi, np.pi)
    size = np.log(random.uniform(0.38, 0.52))
    return path(name, frames, draw_motion(random)) + np.array([*place, angle, size])


def _ink(image_hw: Tensor, poses_T4: np.ndarray, size: int) -> Tensor:
    """Return the ink in each pixel, (T, H, W): the image at each pose, edges joined."""
    x_T, y_T, angle_T, log_size_T = torch.from_numpy(poses_T4).float().T.reshape(4, -1, 1, 1)
    centres = (2 * torch.arange(size) + 1) / size - 1
    # offset of a pixel from the digit, by the shorter way across the edges
    dx_THW = (centres.view(1, 1, size) - x_T + 1).remainder(2) - 1
    dy_THW = (centres.view(1, size, 1) - y_T + 1).remainder(2) - 1
    cos, sin = angle_T.cos() / log_size_T.exp(), angle_T.sin() / log_size_T.exp()
    grid_THW2 = torch.stack([cos * dx_THW + sin * dy_THW, cos * dy_THW - sin * dx_THW], dim=-1)
    images = image_hw.expand(len(poses_T4), 1, *image_hw.shape)
    return F.grid_sample(images, grid_THW2, align_corners=False)[:, 0]


def _paint(ink_THW: Tensor, random: np.random.Generator) -> Tensor:
    """Draw a light colour on a dark, mottled background, with a little noise."""
    frames, height, width = ink_THW.shape
    mottle = torch.from_numpy(random.uniform(-0.1, 0.1, (1, 3, 4, 4))).float()
    mottle = F.interpolate(mottle, (height, width), mode="bilinear", align_corners=False)
    ground = torch.from_numpy(random.uniform(0.1, 0.35, (1, 3, 1, 1))).float() + mottle
    colour = torch.from_numpy(random.uniform(0.7, 1, (1, 3, 1, 1))).float()
    ink = ink_THW.unsqueeze(1)
    pixels = ground + ink * (colour - ground)
    noise = random.standard_normal((frames, 3, height, width), dtype=np.float32)
    return (pixels + GREY_NOISE * torch.from_numpy(noise)).clamp_(0, 1)
