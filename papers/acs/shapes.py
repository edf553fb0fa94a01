"""Claims 2 and 3, training on solids: `python -m papers.acs.shapes [--seeds 0 1 2]`.

Paper: Yang et al., Reinventing 2D Convolutions for 3D Images (ACS), arXiv:1911.10477, Tables 3, 7
The paper's shapes, its noise, its loss, its rate and its batches, on a smaller scale that a CPU
trains: 24 voxels a side instead of 48, half the width. Goes on with what `runs/acs_shapes` and
shapes.json hold, and writes the table and the figure from all there is; `--seeds` alone, without
one, trains nothing. `--paper` does the same at the paper's own size, into shapes_paper.json, for
those who have a GPU.
"""

import argparse
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lean3d.data import Shapes3D
from lean3d.files import write_between
from papers.acs.flat_shapes import Flat
from papers.acs.shape_figure import draw_shapes
from papers.acs.shape_results import Results
from papers.acs.shape_text import section
from papers.acs.shape_training import RISE, SLOWER, STOP, score, until_flat
from papers.acs.shape_unet import solid_unet, transfer

__all__ = ["PAPER", "VARIANTS", "Scale", "main", "measure"]

HERE, RUNS = Path(__file__).parent, Path("runs") / "acs_shapes"
WHOLE, ENCODER = ("encoder", "decoder"), ("encoder",)
# form, and what it has of the 2D weights
VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "2.5D r.": ("2.5D", ()),
    "2.5D p.": ("2.5D", WHOLE),
    "3D r.": ("3D", ()),
    "ACS r.": ("ACS", ()),
    "ACS p.": ("ACS", WHOLE),
    "ACS p. EO": ("ACS", ENCODER),
}


@dataclass(frozen=True)
class Scale:
    """How large everything is.

    Args:
        size: Pixels or voxels along a side.
        most: Epochs in 3D after which training ends in any case.
    """

    size: int = 24
    widths: tuple[int, ...] = (32, 64)
    images: int = 10_000
    image_epochs: int = 4
    volumes: int = 100
    val: int = 40
    tests: int = 100
    most: int = 150

    def flat(self, out: Path) -> Flat:
        return Flat(self.size, self.widths, self.images, self.image_epochs, out)

    def settings(self) -> dict[str, Any]:
        return asdict(self) | {"rise": RISE, "slower": SLOWER, "stop": STOP}


PAPER = Scale(size=48, widths=(64, 128), image_epochs=3)


def measure(scale: Scale, results: Results, out: Path, seed: int) -> None:
    """Whatever is missing of one seed."""
    results.get("2D", seed, partial(_flat, scale, seed, out))
    for name in VARIANTS:
        print(f"seed {seed}: {name}", file=sys.stderr, flush=True)
        results.get(name, seed, partial(_one, name, scale, seed, out))


def _flat(scale: Scale, seed: int, out: Path) -> dict[str, Any]:
    flat = scale.flat(out)
    return flat.score(seed) | _took(flat.trained(seed)[1])


def _one(name: str, scale: Scale, seed: int, out: Path) -> dict[str, Any]:
    form, parts = VARIANTS[name]
    model = solid_unet(form, scale.widths, seed)
    if parts:
        transfer(scale.flat(out).trained(seed)[0].state_dict(), model, parts)
    samples, val, tests = (
        Shapes3D(num, 3 * seed + part, size=scale.size)
        for part, num in enumerate((scale.volumes, scale.val, scale.tests))
    )
    folder = out / f"{name.replace('.', '').replace(' ', '_').lower()}_{seed}"
    found = until_flat(model, samples, val, folder, seed, scale.most)
    flat = len(found["epochs"]) < scale.most
    return score(model, tests, tests.names) | {"flat": flat} | _took(found)


def _took(found: dict[str, Any]) -> dict[str, Any]:
    rows = found["epochs"]
    return {
        "epochs": len(rows),
        "best epoch": found["best_epoch"],
        "seconds": round(sum(row["seconds"] for row in rows)),
        "curve": [round(row["val_dice"] or 0, 4) for row in rows],
        "train_loss": [round(row["train_loss"], 4) for row in rows],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m papers.acs.shapes")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--paper", action="store_true", help="the paper's own size")
    asked = parser.parse_args()
    scale, name = (PAPER, "shapes_paper") if asked.paper else (Scale(), "shapes")
    results = Results(HERE / f"{name}.json", scale.settings())
    for seed in asked.seeds:
        measure(scale, results, RUNS.with_name(f"acs_{name}"), seed)
    if not results.entries:
        parser.error(f"{name}.json has no results of these settings yet; pass --seeds 0")
    draw_shapes(results, tuple(VARIANTS), HERE / name)
    write_between(HERE / "README.md", name, section(results))
    print(section(results))


if __name__ == "__main__":
    main()
