"""Claim 5, atoms reconstruct better than rank-1: `python -m papers.stdcf.reconstruct`.

Paper: Miao et al., STDCF, NeurIPS 2021, Sec 2.1.1, Fig 2
Digits that translate and rotate shrink through a network of three layers to an eighth of their
positions and come back. The paper's settings are in an appendix that we do not have; so the network
ends in two ways: in one channel after the code is enlarged, or in eight that are shuffled into
place. A network and seed takes one to seven minutes of a CPU core.

Axes: B batch, C channels, N videos, T time, H height, W width.
"""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.data.digits import digit_images
from lean3d.ops import AtomConv3d, SpaceTimeConv3d
from lean3d.tasks.learner import Learner
from papers.command import Work, carry_out, flags
from papers.digit_videos import draw_ink
from papers.learn import Batches, folder_of, learn
from papers.stdcf.reconstruct_text import draw, section
from papers.trained import seeded

__all__ = ["NAMES", "Scale", "main", "network", "psnr", "work"]

HERE = Path(__file__).parent
FORMS: dict[str, Any] = {
    "regular": nn.Conv3d,
    "rank1": partial(SpaceTimeConv3d, form="rank1"),
    "stdcf": partial(AtomConv3d, spatial=6, temporal=2),
}
ENDS = ("enlarged", "shuffled")
NAMES = tuple(f"{form} {end}" for end in ENDS for form in FORMS)


@dataclass(frozen=True)
class Scale:
    """How large everything is.

    Args:
        channels: Of the code.
        clips: New ones in every epoch; `tests` are scored.
    """

    frames: int = 8
    size: int = 16
    channels: int = 8
    clips: int = 1024
    tests: int = 256
    epochs: int = 16
    batch: int = 32
    lr: float = 4e-3


TINY = Scale(channels=4, clips=64, tests=32, epochs=2)


def network(form: str, end: str, channels: int) -> nn.Sequential:
    """Three layers of kernels 3x3x3: (B, 1, T, H, W) to the same shape."""
    conv = FORMS[form]
    code = [
        *(conv(1, channels, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2)),
        *(conv(channels, channels, 3, padding=1), nn.ReLU()),
    ]
    if end == "enlarged":
        enlarge = nn.Upsample(scale_factor=2, mode="trilinear", align_corners=False)
        return nn.Sequential(*code, enlarge, conv(channels, 1, 3, padding=1))
    return nn.Sequential(*code, conv(channels, 8, 3, padding=1), Shuffle())


class Shuffle(nn.Module):
    """Eight channels become the eight voxels of one: (B, 8, T, H, W) -> (B, 1, 2T, 2H, 2W)."""

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        batch, _, *size = x_BCTHW.shape
        apart = x_BCTHW.view(batch, 2, 2, 2, *size).permute(0, 4, 1, 5, 2, 6, 3)
        return apart.reshape(batch, 1, *(2 * side for side in size))


class Moving:
    """Digits that translate and rotate, each at a speed of its own, from 0 to 1."""

    def __init__(self, scale: Scale, seed: int, split: str, device: str):
        self.scale, self.seed, self.device = scale, seed, device
        self.images = digit_images("val" if split == "val" else "train")

    def draw(self, index_B: Tensor) -> tuple[Tensor, Tensor]:
        """Clips (B, 1, T, H, W), and themselves."""
        random = np.random.default_rng((self.seed, len(self.images), int(index_B[0])))
        num, scale = len(index_B), self.scale
        low, high = np.array([-1, -1, -np.pi, -0.8]), np.array([1, 1, np.pi, -0.4])
        start_N14 = random.uniform(low, high, (num, 1, 4))
        # up to two pixels and 20 degrees a frame
        fast = np.array([4 / scale.size, 4 / scale.size, 0.35, 0])
        time_T1 = np.arange(scale.frames)[:, None]
        pose = start_N14 + random.uniform(-fast, fast, (num, 1, 4)) * time_T1
        picked = torch.from_numpy(random.integers(len(self.images), size=num))
        pose_NT4 = torch.from_numpy(pose).float().to(self.device)
        images = self.images[picked].to(self.device)
        x = draw_ink(images, pose_NT4, scale.size, scale.size)[:, None]
        return x, x


class Reconstruction(Learner):
    """Learns the clip itself by its mean squared error; logs the mean PSNR of clips."""

    monitor, num_classes = "val_psnr", 1

    def training_step(self, batch: tuple[Tensor, ...], index: int) -> Tensor:
        loss = F.mse_loss(self(batch[0]), batch[1])
        self.log("train_loss", loss, on_epoch=True, on_step=False, batch_size=len(batch[0]))
        return loss

    def validation_step(self, batch: tuple[Tensor, ...], index: int) -> None:
        found = psnr(self(batch[0]), batch[1]).mean()
        self.log("val_psnr", found, batch_size=len(batch[0]))


def psnr(said: Tensor, x: Tensor) -> Tensor:
    """The peak signal-to-noise ratio of each clip in dB, (B,), for values from 0 to 1."""
    return -10 * (said.clamp(0, 1) - x).square().flatten(1).mean(1).log10()


def reconstruct(scale: Scale, name: str, seed: int, runs: Path, device: str) -> dict[str, Any]:
    """Train one network and score it on clips of digits it has not seen."""
    form, end = name.split()
    folder = folder_of(runs, name, seed, scale)
    with seeded(seed):
        model = network(form, end, scale.channels)
    task = Reconstruction(model, lr=scale.lr, schedule="cosine")
    train, val = Moving(scale, seed, "train", device), Moving(scale, seed, "val", device)
    tests = Batches(val.draw, scale.tests, 256, shuffle=False)
    settings: dict[str, Any] = dict(epochs=scale.epochs, seed=seed, device=device)
    clips = Batches(train.draw, scale.clips, scale.batch, fresh=True)
    rows = learn(task, clips, tests, folder, **settings)
    return {
        "psnr": round(rows[-1]["val_psnr"], 3),
        "params": sum(p.numel() for p in model.parameters()),
        "curve": [round(row["val_psnr"], 3) for row in rows],
        "train_loss": [round(row["train_loss"], 6) for row in rows],
        "seconds": round(sum(row["seconds"] for row in rows), 1),
    }


def work(scale: Scale) -> Work:
    """What the command measures."""
    return Work("reconstruct", asdict(scale), NAMES, partial(reconstruct, scale), section, draw)


def main(argv: list[str] | None = None) -> None:
    parser = flags("papers.stdcf.reconstruct", str(__doc__))
    asked = parser.parse_args(argv)
    carry_out(work(TINY if asked.tiny else Scale()), asked, parser, HERE)


if __name__ == "__main__":
    main()
