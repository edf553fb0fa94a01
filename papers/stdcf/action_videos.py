"""Six motions of handwritten digits in the place of KTH's six actions: grey, 16 x 60 x 80.

Three stay where they are, as boxing, clapping and waving do: the digit is shaken, pulses or turns
to and fro. Three cross the frame, as walking, jogging and running do, and differ in speed alone:
at half the frames or half the pixels one of them is another.

Axes: N videos, T time, H height, W width.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lean3d.data.digits import digit_images
from papers.digit_videos import draw_ink, paint_grey

__all__ = ["ACTIONS", "Actions", "draw_actions"]

ACTIONS = ("box", "clap", "wave", "walk", "jog", "run")
# pixels a frame
SPEEDS = {"walk": 0.9, "jog": 1.5, "run": 2.5}
# half of the way of a swing, in half heights, logs of the size and radians
SWINGS = {"box": (0, 0.14), "clap": (3, 0.22), "wave": (2, 0.45)}
HALF = 30
CHUNK = 100


@dataclass(frozen=True)
class Actions:
    """How the videos are drawn.

    Args:
        noise, block: As `paint_grey` takes them.
        vary: Largest change of a speed, as a share of it.
    """

    frames: int = 16
    height: int = 60
    width: int = 80
    noise: float = 0.1
    block: int = 1
    vary: float = 0.2


def draw_actions(
    num: int, seed: int, split: str, look: Actions, device: str
) -> tuple[Tensor, Tensor]:
    """Videos (N, 1, T, H, W) and their classes (N,) on the device; every class alike often.

    Args:
        split: "train" or "val", which share no image of a digit.
    """
    random = np.random.default_rng((seed, split == "val"))
    images = digit_images("val" if split == "val" else "train")
    picked = torch.from_numpy(random.integers(len(images), size=num))
    label_N = np.arange(num) % len(ACTIONS)
    poses = np.stack([_pose(ACTIONS[k], look, random) for k in label_N])
    torch_random = torch.Generator(device).manual_seed(2 * seed + (split == "val"))
    parts = []
    for index in torch.arange(num).split(CHUNK):
        pose_NT4 = torch.from_numpy(poses[index.numpy()]).float().to(device)
        ink = draw_ink(images[picked[index]].to(device), pose_NT4, look.height, look.width)
        parts.append(paint_grey(ink, look.noise, torch_random, look.block))
    return torch.cat(parts), torch.from_numpy(label_N).to(device)


def _pose(name: str, look: Actions, random: np.random.Generator) -> np.ndarray:
    """The pose in every frame, (T, 4), from a random place."""
    time = np.arange(look.frames) - (look.frames - 1) / 2
    wide = look.width / look.height
    pose = np.zeros((look.frames, 4))
    pose += [random.uniform(-wide, wide), random.uniform(-1, 1), 0, 0]
    pose[:, 2] += random.uniform(-0.4, 0.4)
    pose[:, 3] += np.log(random.uniform(0.3, 0.45))
    change = random.uniform(1 - look.vary, 1 + look.vary)
    if name in SPEEDS:
        side = random.choice((-1, 1))
        pose[:, 0] += side * change * SPEEDS[name] / HALF * time
        # whoever goes also bobs a little
        pose[:, 1] += 0.03 * np.sin(0.7 * time + random.uniform(0, 2 * np.pi))
    else:
        axis, way = SWINGS[name]
        swings = random.uniform(1.2, 2.4) * 2 * np.pi / look.frames
        pose[:, axis] += change * way * np.sin(swings * time + random.uniform(0, 2 * np.pi))
    return pose
