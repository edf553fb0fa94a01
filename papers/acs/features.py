"""Claim 1, features before any training in 3D: `python -m papers.acs.features`, in half an hour.

Paper: Yang et al., Reinventing 2D Convolutions for 3D Images (ACS), arXiv:1911.10477, Table 3
The paper's own shapes, network and widths: a 2D UNet is trained on 10,000 images of circles and
squares, and its weights are put into 2.5D and ACS networks over volumes of 48 voxels cubed. Goes on
with what `runs/acs_features` and features.json hold, then writes the table and the figure.
"""

import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lean3d.data import SHAPES_2D, Shapes3D
from papers.acs.feature_auc import feature_mauc
from papers.acs.feature_figure import draw_features
from papers.acs.flat_shapes import Flat
from papers.acs.shape_unet import ShapeUNet, last_features, solid_unet, transfer
from papers.command import publish, small
from papers.results import Results, spread
from papers.text import measured_by, table

__all__ = ["FEATURES", "Scale", "built", "main", "measure", "section"]

HERE, RUNS = Path(__file__).parent, Path("runs") / "acs_features"
SEEDS = (0, 1, 2)
FLAT = "2D"
# Table 3, mAUC in percent before training
PAPER = {"2.5D r.": 69.0, "2.5D p.": 85.1, "3D r.": 72.1, "ACS r.": 68.7, "ACS p.": 88.1}
FEATURES, ANSWERS = "features", "answers"


@dataclass(frozen=True)
class Scale:
    """How large everything is; that of the paper, but for the number of test volumes."""

    size: int = 48
    widths: tuple[int, ...] = (64, 128)
    images: int = 10_000
    epochs: int = 3
    tests: int = 10

    def flat(self, out: Path) -> Flat:
        return Flat(self.size, self.widths, self.images, self.epochs, out)


TINY = Scale(16, (4, 8), images=64, epochs=1, tests=2)


def built(name: str, scale: Scale, seed: int, out: Path) -> ShapeUNet:
    """A network of Table 3, whole: where it is pretrained, its head is that of the 2D network."""
    form, start = name.split()
    model = solid_unet(form, scale.widths, seed, len(SHAPES_2D))
    if start == "p.":
        flat, _ = scale.flat(out).trained(seed)
        transfer(flat.state_dict(), model, ("encoder", "decoder", "head"))
    return model


def _one(name: str, scale: Scale, seed: int, out: Path) -> dict[str, Any]:
    model = built(name, scale, seed, out)
    found: dict[str, list[float]] = {FEATURES: [], ANSWERS: []}
    for image, label in Shapes3D(scale.tests, 3 * seed + 2, size=scale.size):
        features = last_features(model, image[None])
        with torch.no_grad():
            answers = model.head(features)
        inside = (label > 0)[None]
        found[FEATURES].append(feature_mauc(features, inside))
        found[ANSWERS].append(feature_mauc(answers, inside))
    return {key: round(sum(values) / len(values), 4) for key, values in found.items()}


def measure(scale: Scale, results: Results, out: Path, seeds: tuple[int, ...] = SEEDS) -> None:
    """Whatever is missing."""
    for seed in seeds:
        print(f"seed {seed}", file=sys.stderr, flush=True)
        results.get(FLAT, seed, partial(scale.flat(out).score, seed))
        for name in PAPER:
            results.get(name, seed, partial(_one, name, scale, seed, out))


def section(results: Results) -> str:
    """The table of README: the paper's number beside ours."""
    rows = [
        {
            "network": name,
            "paper": f"{printed:.1f}",
            "last features": spread(results.values(name, FEATURES)),
            "answers of the head": spread(results.values(name, ANSWERS)),
        }
        for name, printed in PAPER.items()
    ]
    return "\n\n".join(
        [
            table(rows),
            f"mAUC in percent, mean and standard deviation over seeds, {results.settings['tests']} "
            f"volumes a seed. The 2D networks reach a Dice of "
            f"{spread(results.values(FLAT, 'dice'), digits=2)} (paper: 98.57). "
            f"{measured_by(results.entries)}",
        ]
    )


def main(argv: list[str] | None = None) -> None:
    asked = small("papers.acs.features", str(__doc__)).parse_args(argv)
    scale, home = (TINY, asked.tiny) if asked.tiny else (Scale(), HERE)
    runs = asked.tiny / "runs" if asked.tiny else RUNS
    results = Results(home / "features.json", asdict(scale))
    measure(scale, results, runs)
    models = {name: built(name, scale, SEEDS[0], runs) for name in ("ACS r.", "ACS p.")}
    volume = Shapes3D(1, 3 * SEEDS[0] + 2, size=scale.size)[0]
    draw_features(results, PAPER, models, volume, home / "features")
    publish(home, "features", section(results), asked.tiny)


if __name__ == "__main__":
    main()
