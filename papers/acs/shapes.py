"""Claims 2 and 3, training on solids: `python -m papers.acs.shapes [--seeds 0 1 2]`.

Paper: Yang et al., Reinventing 2D Convolutions for 3D Images (ACS), arXiv:1911.10477, Tables 3, 7
With `--paper --device cuda` at the paper's own settings: volumes of 48 voxels cubed, 50 epochs at
one rate, in single precision; a network and seed takes one to four minutes of an H200. Without, on
a smaller scale that a CPU trains: 24 voxels a side, half the width, until the curve is flat; two to
fourteen minutes of a core each.
"""

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from lean3d.data import Shapes3D
from papers.acs.flat_shapes import Flat
from papers.acs.shape_figure import draw_shapes
from papers.acs.shape_text import section
from papers.acs.shape_training import RISE, SLOWER, STOP, fixed, score, until_flat
from papers.acs.shape_unet import solid_unet, transfer
from papers.command import Work, carry_out, flags
from papers.learn import folder_of
from papers.trained import Kept

__all__ = ["FLAT", "PAPER", "TINY", "VARIANTS", "Scale", "main", "work"]

HERE = Path(__file__).parent
FLAT = "2D"
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
        most: Epochs in 3D; without `fixed` training may end before.
        fixed: Train as the paper does, all epochs at one rate and in single precision.
    """

    size: int = 24
    widths: tuple[int, ...] = (32, 64)
    images: int = 10_000
    image_epochs: int = 4
    volumes: int = 100
    val: int = 40
    tests: int = 100
    most: int = 150
    fixed: bool = False

    def flat(self, out: Path, device: str = "cpu") -> Flat:
        return Flat(self.size, self.widths, self.images, self.image_epochs, out, device)

    def settings(self) -> dict[str, Any]:
        return asdict(self) | ({} if self.fixed else {"rise": RISE, "slower": SLOWER, "stop": STOP})


PAPER = Scale(size=48, widths=(64, 128), image_epochs=3, most=50, fixed=True)
TINY = Scale(16, (4, 8), images=64, image_epochs=1, volumes=8, val=4, tests=4, most=2)


def work(scale: Scale, stem: str) -> Work:
    """What the command measures."""

    def measure(name: str, seed: int, runs: Path, device: str) -> dict[str, Any]:
        one = _flat if name == FLAT else partial(_one, name)
        return one(scale, seed, runs, device)

    names = (FLAT, *VARIANTS)
    draw = partial(draw_shapes, names=tuple(VARIANTS))
    return Work(stem, scale.settings(), names, measure, section, draw, tune=True)


def _flat(scale: Scale, seed: int, out: Path, device: str) -> dict[str, Any]:
    flat = scale.flat(out, device)
    return flat.score(seed) | _took(flat.trained(seed)[1])


def _one(name: str, scale: Scale, seed: int, out: Path, device: str) -> dict[str, Any]:
    form, parts = VARIANTS[name]
    model = solid_unet(form, scale.widths, seed)
    if parts:
        transfer(scale.flat(out, device).trained(seed)[0].state_dict(), model, parts)
    samples, val, tests = (
        Kept(Shapes3D(num, 3 * seed + part, size=scale.size))
        for part, num in enumerate((scale.volumes, scale.val, scale.tests))
    )
    folder = folder_of(out, name, seed, scale)
    more: dict[str, Any] = dict(seed=seed, device=device)
    if scale.fixed:
        found = fixed(model, samples, val, folder, epochs=scale.most, **more)
    else:
        found = until_flat(model, samples, val, folder, most=scale.most, **more)
    flat = scale.fixed or len(found["epochs"]) < scale.most
    return score(model, tests, tests.names, device) | {"flat": flat} | _took(found)


def _took(found: dict[str, Any]) -> dict[str, Any]:
    rows = found["epochs"]
    return {
        "epochs": len(rows),
        "best epoch": found["best_epoch"],
        "seconds": round(sum(row["seconds"] for row in rows)),
        "peak_mib": max(row["peak_memory_mib"] for row in rows),
        "curve": [round(row["val_dice"] or 0, 4) for row in rows],
        "train_loss": [round(row["train_loss"], 4) for row in rows],
    }


def main(argv: list[str] | None = None) -> None:
    parser = flags("papers.acs.shapes", str(__doc__))
    parser.add_argument("--paper", action="store_true", help="the paper's own settings")
    asked = parser.parse_args(argv)
    scale, stem = (PAPER, "shapes_paper") if asked.paper else (Scale(), "shapes")
    scale = replace(TINY, fixed=asked.paper) if asked.tiny else scale
    carry_out(work(scale, stem), asked, parser, HERE)


if __name__ == "__main__":
    main()
