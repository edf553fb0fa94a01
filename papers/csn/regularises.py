"""Claim 9, channel separation regularises: `python -m papers.csn.regularises --device cuda`.

Paper: Tran et al., CSN, arXiv:1904.02811, Sec 4.3, Fig 5, Table 2
ResNet3D, ir-CSN and ip-CSN at equal depth and a quarter of the width, on a small fixed set of
gestures: the errors on it, as it is trained on, and on other videos. SGD, warm-up and half a
cosine, as in Sec 4.1. A network and seed takes one to two minutes of an H100;
without --device cuda 20 to 45 minutes of a CPU core, all eighteen nine to ten hours.
"""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from lean3d.data import MOTIONS
from lean3d.models import create_model
from lean3d.tasks.classification import Classification
from papers.command import Work, carry_out, flags
from papers.csn.regularises_text import DEPTHS, KINDS, draw, section
from papers.gesture_videos import Gestures
from papers.learn import curve, folder_of, held, learn
from papers.trained import seeded

__all__ = ["NAMES", "Scale", "main", "work"]

HERE = Path(__file__).parent
NAMES = tuple(f"{name}-{depth}" for depth in DEPTHS for name in KINDS.values())


@dataclass(frozen=True)
class Scale:
    """How large everything is.

    Args:
        clips: To train on, the same in every epoch.
        warmup: Epochs.
    """

    widths: tuple[int, ...] = (16, 32, 64, 128)
    frames: int = 16
    size: int = 32
    noise: float = 0.1
    clips: int = 1280
    tests: int = 100 * len(MOTIONS)
    epochs: int = 60
    warmup: int = 6
    batch: int = 64
    lr: float = 0.05
    weight_decay: float = 1e-4


TINY = Scale((4, 4, 8, 8), 8, 16, clips=32, tests=46, epochs=3, warmup=1, batch=16)


class Errors(Classification):
    """A classifier that also logs the share of training clips it gets wrong."""

    def training_step(self, batch: tuple[Tensor, ...], index: int) -> Tensor:
        scores, label_B = self._scores(batch), batch[-1]
        wrong = (scores.argmax(1) != label_B).float().mean()
        size = len(label_B)
        loss = self._loss(scores, label_B)
        for name, value in (("train_loss", loss), ("train_error", wrong)):
            self.log(name, value, on_epoch=True, on_step=False, batch_size=size)
        return loss


def measure(scale: Scale, name: str, seed: int, runs: Path, device: str) -> dict[str, Any]:
    """Train one network; its errors by epoch."""
    kind, depth = name.rsplit("-", 1)
    model_name = next(key for key, title in KINDS.items() if title == kind)
    folder = folder_of(runs, name, seed, scale)
    with seeded(seed):
        model = create_model(
            f"{model_name}_{depth}", num_classes=len(MOTIONS), widths=scale.widths, pool1=False
        )
    looks: dict[str, Any] = dict(frames=scale.frames, size=scale.size, noise=scale.noise)
    train, tests = (Gestures(seed, split, device, **looks) for split in ("train", "val"))
    clips = held(*train.hold(scale.clips), scale.batch, seed)
    settings: dict[str, Any] = dict(optimizer="sgd", lr=scale.lr, weight_decay=scale.weight_decay)
    settings |= dict(schedule="cosine", warmup=scale.warmup * len(clips))
    settings |= dict(channels_last=device == "cpu")
    task = Errors(model, len(MOTIONS), class_names=MOTIONS, **settings)
    others = held(*tests.hold(scale.tests), 230, shuffle=False)
    rows = learn(
        *(task, clips, others, folder),
        epochs=scale.epochs,
        seed=seed,
        device=device,
        val_every=max(2, scale.epochs // 8),
    )
    tested = curve(rows, "val_top1")
    return {
        "train error": round(rows[-1]["train_error"], 4),
        "test error": round(1 - rows[-1]["val_top1"], 4),
        "params": sum(p.numel() for p in model.parameters()),
        "train errors": [round(row["train_error"], 4) for row in rows],
        "train_loss": [round(row["train_loss"], 4) for row in rows],
        "test errors": {epoch: round(1 - top1, 4) for epoch, top1 in tested.items()},
        "seconds": round(sum(row["seconds"] for row in rows), 1),
    }


def work(scale: Scale) -> Work:
    """What the command measures."""
    return Work("regularises", asdict(scale), NAMES, partial(measure, scale), section, draw)


def main(argv: list[str] | None = None) -> None:
    parser = flags("papers.csn.regularises", str(__doc__))
    asked = parser.parse_args(argv)
    carry_out(work(TINY if asked.tiny else Scale()), asked, parser, HERE)


if __name__ == "__main__":
    main()
