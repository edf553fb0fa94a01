"""The three-layer networks of STDCF on six motions, trained as in its Sec 3.1.

On whole clips, or by turns on small ones; by Adam at a rate that is a tenth from half of the epochs
on, in each stage again.

Axes: N videos, T time, H height, W width.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from lean3d.cost import count
from lean3d.models import create_model
from lean3d.recipes import get_recipe
from lean3d.recipes.datasets import datasets
from lean3d.recipes.resolve import resolve
from lean3d.recipes.turns import ClassificationByTurns
from lean3d.tasks.classification import Classification
from lean3d.train.two_stage import Stage, two_stage, whole
from papers.learn import curve, held, learn
from papers.stdcf.action_videos import ACTIONS, Actions, draw_actions
from papers.trained import seeded

__all__ = [
    "FORMS",
    "FULL",
    "KTH",
    "SMALL",
    "TINY",
    "Clips",
    "Scale",
    "accuracy",
    "by_turns",
    "memory",
    "mismatched",
    "on_whole",
    "renewed",
    "score",
]

FORMS = ("regular", "rank1", "stdcf")
# shrink, skip, dilation of space and of time
PLAIN = Stage("whole", 1, 1, 1, 1, space_learns=True, time_learns=True)
HALVED = Stage("small", 2, 1, 1, 1, space_learns=True, time_learns=True)
SPREAD_TIME = Stage("spread", 1, 1, 1, 2, space_learns=True, time_learns=True)
FEW = Stage("few", 1, 2, 1, 1, space_learns=True, time_learns=True)
SPREAD_SPACE = Stage("spread", 1, 1, 2, 1, space_learns=True, time_learns=True)


@dataclass(frozen=True)
class Scale:
    """How large everything is.

    Args:
        widths: Channels of the three layers.
        clips: To train on; `val` others are scored.
        epochs: Of a run on whole clips, and of each stage.
        iterations: E, each of two stages.
        data: The paper's own, "kth:DIR"; else digits are drawn.
        renew: Training clips that give batch norm its statistics anew before each test, as the test
            sees them; 0 leaves those of the last stage.
    """

    look: Actions = field(default_factory=Actions)
    widths: tuple[int, ...] = (16, 32, 32)
    clips: int = 1536
    val: int = 1200
    epochs: int = 14
    iterations: int = 3
    batch: int = 32
    lr: float = 2e-3
    renew: int = 0
    data: str = ""


FULL = Scale()
# small frames look as large ones do, and all tests have their own statistics
SMALL = Scale(Actions(height=30, width=40, block=2), (8, 16, 16), epochs=24, renew=256)
# of the paper
KTH = Scale(widths=(16, 64, 64), clips=4667, val=4551, epochs=40, batch=16, lr=1e-3)
TINY = Scale(Actions(height=30, width=40, block=2), (4, 8, 8), 48, 48, 4, 1, 16, renew=12)


@dataclass(frozen=True)
class Clips:
    """What one seed trains on and is scored by."""

    scale: Scale
    seed: int
    device: str

    @cached_property
    def train(self) -> tuple[Tensor, Tensor]:
        return self._draw("train", self.scale.clips)

    @cached_property
    def val(self) -> tuple[Tensor, Tensor]:
        return self._draw("val", self.scale.val)

    def _draw(self, split: str, num: int) -> tuple[Tensor, Tensor]:
        if self.scale.data:
            return self._read(split)
        return draw_actions(num, self.seed, split, self.scale.look, self.device)

    def _read(self, split: str) -> tuple[Tensor, Tensor]:
        """Clips of videos, each drawn once; as many to test on as there are, at most."""
        scale = self.scale
        look = scale.look
        recipe = replace(
            get_recipe("kth_stdcf"),
            data=scale.data,
            clip=look.frames,
            size=look.height,
            width=look.width,
            train_samples=scale.clips,
            val_samples=scale.val,
            seed=self.seed,
        )
        samples = datasets(resolve(recipe))[split == "val"]
        pairs = [samples[index] for index in range(len(samples))]
        x = torch.stack([x for x, _ in pairs]).to(self.device)
        return x, torch.tensor([label for _, label in pairs], device=self.device)


def on_whole(form: str, clips: Clips, folder: Path) -> dict[str, Any]:
    """Learning from whole clips, tested on whole ones and on every second frame of them."""
    task, found = _trained(form, clips, folder, PLAIN)
    return found | {
        "top-1": score(task.model, PLAIN, clips),
        "half the frames": score(task.model, FEW, clips),
    }


def by_turns(form: str, clips: Clips, folder: Path) -> dict[str, Any]:
    """Iterative two-stage learning; the accuracy on whole clips after every stage."""
    scale = clips.scale
    epochs = 2 * scale.iterations * scale.epochs
    task = Turns(
        _model(form, clips),
        len(ACTIONS),
        class_names=ACTIONS,
        turn=scale.epochs,
        shrink=2,
        skip=2,
        **_learning(scale),
    )
    task.clips = clips
    # all kernels learn in some stage, so the optimizer holds all
    task.whole.enter(task.model)
    rows = _learn(task, clips, folder, epochs)
    ends = [rows[n]["val_top1"] for n in range(scale.epochs - 1, epochs, scale.epochs)]
    return _curve(rows) | {
        "top-1": score(task.model, whole(), clips),
        "stages": [round(end, 4) for end in ends],
    }


def mismatched(name: str, clips: Clips, folder: Path) -> dict[str, Any]:
    """Atoms learnt at one resolution and tested at another, as they are and dilated (Table 1)."""
    if name == "small":
        task, found = _trained("stdcf", clips, folder, HALVED)
        tests = {"own": HALVED, "as it is": PLAIN, "dilated": SPREAD_SPACE}
    else:
        task, found = _trained("stdcf", clips, folder, SPREAD_TIME)
        tests = {"own": SPREAD_TIME, "dilated": FEW}
    return found | {key: score(task.model, test, clips) for key, test in tests.items()}


def memory(clips: Clips) -> dict[str, Any]:
    """Peak in MB of training on a batch: as counted, and on a GPU as measured (Table 2)."""
    scale, look = clips.scale, clips.scale.look
    time, space = two_stage(1)
    size = (scale.batch, 1, look.frames, look.height, look.width)
    found: dict[str, Any] = {}
    for form in FORMS:
        for stage in (PLAIN, time, space):
            model = stage.enter(_model(form, clips))
            x = stage.clip(torch.zeros(size))
            peak = count(model, tuple(x.shape), training=True).training_peak_bytes
            entry = {"counted": round(peak / 1e6, 1)}
            if clips.device.startswith("cuda"):
                peak = _peak(model.to(clips.device), x.to(clips.device))
                entry["measured"] = round(peak / 1e6, 1)
            found[f"{form} {stage.name}"] = entry
    return found


def _peak(model: nn.Module, x: Tensor) -> int:
    """Bytes at the peak of the second step, after the first has chosen its algorithms."""
    label_N = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    for _ in range(2):
        model.zero_grad()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        torch.nn.functional.cross_entropy(model(x), label_N).backward()
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    batch = x.numel() * x.element_size()
    return torch.cuda.max_memory_allocated() - before + weights + batch


@torch.inference_mode()
def accuracy(model: nn.Module, stage: Stage, clips: tuple[Tensor, Tensor]) -> float:
    """The share named right of the clips as a stage sees them, with its dilations."""
    stage.enter(model).eval()
    x, label_N = clips
    said_N = torch.cat([model(stage.clip(part)).argmax(1) for part in x.split(200)])
    return round(float((said_N == label_N).float().mean()), 4)


def score(model: nn.Module, stage: Stage, clips: Clips) -> float:
    """The accuracy on the clips held out."""
    with renewed(model, stage, clips):
        return accuracy(model, stage, clips.val)


@contextmanager
def renewed(model: nn.Module, stage: Stage, clips: Clips) -> Iterator[None]:
    """Give batch norm the statistics of training clips as a stage sees them; then its own again."""
    num = clips.scale.renew
    kept = {name: value.clone() for name, value in model.named_buffers()}
    if num:
        parts = clips.train[0][:num].split(clips.scale.batch)
        update_bn((stage.clip(part) for part in parts), stage.enter(model))
    try:
        yield
    finally:
        for name, value in model.named_buffers():
            value.copy_(kept[name])


class Turns(ClassificationByTurns):
    """Stages by turns whose validation has its own statistics of batch norm."""

    clips: Clips

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self.statistics = renewed(self.model, self.whole, self.clips)
        self.statistics.__enter__()

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self.statistics.__exit__(None, None, None)


class InOneStage(Classification):
    """A classifier that sees its training clips as a stage does."""

    stage = PLAIN

    def training_step(self, batch: tuple[Tensor, ...], index: int) -> Tensor:
        return super().training_step((self.stage.clip(batch[0]), *batch[1:]), index)

    def validation_step(self, batch: tuple[Tensor, ...], index: int) -> None:
        super().validation_step((self.stage.clip(batch[0]), *batch[1:]), index)


def _trained(
    form: str, clips: Clips, folder: Path, stage: Stage
) -> tuple[Classification, dict[str, Any]]:
    model = stage.enter(_model(form, clips))
    task = InOneStage(model, len(ACTIONS), class_names=ACTIONS, **_learning(clips.scale))
    task.stage = stage
    return task, _curve(_learn(task, clips, folder, clips.scale.epochs))


def _model(form: str, clips: Clips) -> nn.Module:
    with seeded(clips.seed):
        return create_model(f"kth_{form}", num_classes=len(ACTIONS), widths=clips.scale.widths)


def _learning(scale: Scale) -> dict[str, Any]:
    return dict(lr=scale.lr, schedule="steps", steps=(scale.epochs // 2,))


def _learn(task: Any, clips: Clips, folder: Path, epochs: int) -> list[dict[str, Any]]:
    scale, seed = clips.scale, clips.seed
    train = held(*clips.train, scale.batch, seed)
    val = held(*clips.val, 200, shuffle=False)
    # so that the last epoch of every stage is among them
    every = max(n for n in range(1, 8) if scale.epochs % n == 0 and n < scale.epochs)
    settings: dict[str, Any] = dict(epochs=epochs, seed=seed, device=clips.device)
    return learn(task, train, val, folder, **settings, val_every=every)


def _curve(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Loss of every epoch, accuracy where it was measured, and the time of it all."""
    return {
        "train_loss": [round(row["train_loss"], 4) for row in rows],
        "curve": curve(rows, "val_top1"),
        "seconds": round(sum(row["seconds"] for row in rows), 1),
    }
