"""Claim 8, 3D overfits where PmSCn does not: `python -m papers.pmscn.overfitting --device cuda`.

Paper: Gonda et al., Parallel Separable 3D Convolution (PmSCn), arXiv:1809.04096, Fig 4
The paper's network, a ResNet-34 with 3D convolutions or with PmSCn units, from scratch with Adam.
UCF101 is replaced by few clips of moving digits in 23 gestures, of digits no test clip shows; the
networks have half the paper's width. A network and seed takes two to three minutes of an H100;
without --device cuda half an hour of a CPU core, all twelve five to six hours, with --small (a
quarter of the width, 48 pixels) 7 to 14 minutes of a core, all twelve two hours of one.
"""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lean3d.data import MOTIONS, MovingDigits
from lean3d.models import create_model
from lean3d.tasks.classification import Classification
from papers.command import Work, carry_out, flags
from papers.learn import folder_of
from papers.pmscn.overfitting_text import draw, section
from papers.trained import Kept, seeded, train

__all__ = ["NETWORKS", "SMALL", "TINY", "Scale", "main", "work"]

HERE = Path(__file__).parent
# name and options of the network
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "3D": ("resnet3d_34", {}),
    "P1SC1": ("psc_resnet34", dict(streams=1, depth=1)),
    "P2SC2": ("psc_resnet34", dict(streams=2, depth=2)),
    "P2SC3": ("psc_resnet34", dict(streams=2, depth=3)),
}


@dataclass(frozen=True)
class Scale:
    """How large everything is.

    Args:
        frames: Of a clip, which shows the whole gesture.
        size: Height and width of a frame.
        clips: To train on, as many of each gesture.
        tests: Clips of other digits, on which the error is measured after every epoch.
    """

    widths: tuple[int, ...] = (32, 64, 128, 256)
    frames: int = 16
    size: int = 64
    clips: int = 10 * len(MOTIONS)
    tests: int = 20 * len(MOTIONS)
    epochs: int = 50
    batch: int = 10
    lr: float = 1e-3


SMALL = Scale((16, 32, 64, 128), size=48)
TINY = Scale((4, 4, 4, 4), frames=4, size=16, clips=23, tests=23, epochs=2)


def work(scale: Scale) -> Work:
    """What the command measures."""
    stem = "overfitting_small" if scale == SMALL else "overfitting"
    return Work(stem, asdict(scale), tuple(NETWORKS), partial(_one, scale), section, draw)


def _one(scale: Scale, name: str, seed: int, runs: Path, device: str) -> dict[str, Any]:
    kind, options = NETWORKS[name]
    sizes: dict[str, Any] = dict(frames=scale.frames, size=scale.size)
    samples = Kept(MovingDigits(scale.clips, 2 * seed, split="train", **sizes))
    tests = Kept(MovingDigits(scale.tests, 2 * seed + 1, split="val", **sizes))
    with seeded(seed):
        model = create_model(kind, num_classes=len(MOTIONS), widths=scale.widths, **options)
    last = device == "cpu"
    task = Classification(model, len(MOTIONS), class_names=MOTIONS, lr=scale.lr, channels_last=last)
    found = train(
        task,
        samples,
        tests,
        folder_of(runs, name, seed, scale),
        seed=seed,
        epochs=scale.epochs,
        batch_size=scale.batch,
        val_batch=2 * len(MOTIONS),
        device=device,
    )
    rows = found["epochs"]
    return {
        "params": sum(p.numel() for p in model.parameters()),
        "seconds": round(sum(row["seconds"] for row in rows)),
        "train_loss": [round(row["train_loss"], 4) for row in rows],
        "loss": [round(row["val_loss"], 4) for row in rows],
        "error": [round(1 - row["val_top1"], 4) for row in rows],
    }


def main(argv: list[str] | None = None) -> None:
    parser = flags("papers.pmscn.overfitting", str(__doc__))
    parser.add_argument("--small", action="store_true", help="a size for CPUs: two core-hours")
    asked = parser.parse_args(argv)
    full = SMALL if asked.small else Scale()
    carry_out(work(TINY if asked.tiny else full), asked, parser, HERE)


if __name__ == "__main__":
    main()
