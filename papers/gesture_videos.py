"""The gestures of lean3d.data.MovingDigits, drawn in batches on any device.

Of the same distribution; the numbers differ, because the device draws them.

Axes: N videos, B batch, C channels, T time, H height, W width.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lean3d.data import MOTIONS
from lean3d.data.digits import GREY_NOISE, digit_images
from lean3d.data.motions import draw_motion, path
from papers.digit_videos import draw_ink

__all__ = ["Gestures"]

# gestures whose speed, turn and swings are drawn once; place, angle, size and looks are always new
POOL = 200 * len(MOTIONS)


@dataclass(frozen=True)
class Gestures:
    """Videos by index; what an index shows depends on the seed and the first index of its batch.

    Args:
        split: "train" and "val" share no image of a digit.
        frames: Of a video; its gesture takes all of them.
        clip: Frames of a sample, from a random place of its video; the whole video by default.
        speed: Of all motions; 1 as MovingDigits has it.
        noise: Deviation of the noise on pixels from 0 to 1.
    """

    seed: int
    split: str
    device: str
    frames: int = 32
    clip: int | None = None
    size: int = 32
    speed: float = 1.0
    noise: float = GREY_NOISE

    @cached_property
    def paths(self) -> Tensor:
        """(POOL, frames, 4), on the device."""
        random = np.random.default_rng((self.seed, self.split == "val"))
        found = [
            path(MOTIONS[n % len(MOTIONS)], self.frames, draw_motion(random)) for n in range(POOL)
        ]
        return torch.from_numpy(np.stack(found) * self.speed).float().to(self.device)

    @cached_property
    def images(self) -> Tensor:
        """The digits of the split, on the device."""
        return digit_images("val" if self.split == "val" else "train").to(self.device)

    def draw(self, index_B: Tensor) -> tuple[Tensor, Tensor]:
        """Clips (B, 3, T, H, W), as `normalise_pixels` gives, and their classes (B,)."""
        value = np.random.SeedSequence([self.seed, self.split == "val", int(index_B[0])])
        random = torch.Generator(self.device).manual_seed(int(value.generate_state(1)[0]))
        num, device = len(index_B), self.device
        index_B = index_B.to(device)

        def between(low: float, high: float, *shape: int) -> Tensor:
            share = torch.rand(num, *shape, generator=random, device=device)
            return low + (high - low) * share

        start = [between(-1, 1), between(-1, 1), between(-np.pi, np.pi)]
        start.append(between(0.38, 0.52).log())
        pose_BT4 = self.paths[index_B % POOL] + torch.stack(start, -1)[:, None]
        clip = self.clip or self.frames
        first_B1 = (between(0, 1, 1) * (self.frames - clip + 1)).long()
        shown_BT = (first_B1 + torch.arange(clip, device=device)).clamp(max=self.frames - 1)
        pose_BT4 = pose_BT4.gather(1, shown_BT[..., None].expand(-1, -1, 4))
        picked = torch.randint(len(self.images), (num,), generator=random, device=device)
        ink = draw_ink(self.images[picked], pose_BT4, self.size, self.size)[:, None]
        mottle = F.interpolate(between(-0.1, 0.1, 3, 4, 4), (self.size,) * 2, mode="bilinear")
        ground = between(0.1, 0.35, 3, 1, 1, 1) + mottle[:, :, None]
        pixels = ground + ink * (between(0.7, 1, 3, 1, 1, 1) - ground)
        pixels += self.noise * torch.randn(pixels.shape, generator=random, device=device)
        return (pixels.clamp(0, 1) - 0.45) / 0.225, index_B % len(MOTIONS)

    def hold(self, num: int, chunk: int = 100) -> tuple[Tensor, Tensor]:
        """The first `num` of them, in memory."""
        parts = [self.draw(index) for index in torch.arange(num).split(chunk)]
        clips, labels = zip(*parts, strict=True)
        return torch.cat(clips), torch.cat(labels)
