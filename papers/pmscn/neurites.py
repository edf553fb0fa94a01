"""PmSCn's U-Nets on drawn neurites: `python -m papers.pmscn.neurites --device cuda`.

Paper: Gonda et al., Parallel Separable 3D Convolution (PmSCn), arXiv:1809.04096, Fig 6
The U-Net of the paper with 3D convolutions or with PmSCn units, a quarter as wide and one level
less deep, on affinities of drawn neurites; watershed and agglomeration, scored on held-out sections
by the variation of information. The volume is the same for all; seeds are of weights and crops.

A network and seed takes minutes of a GPU. That may train alone (`--train`, run folders in
`--runs`); another machine scores them, without `--device`.
"""

import json
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from lean3d.recipes import get_recipe
from lean3d.recipes.base import Recipe
from lean3d.recipes.load import load_run
from lean3d.recipes.runs import run
from papers.command import Work, carry_out, flags
from papers.pmscn.neurites_text import draw, section
from papers.trained import prepare

__all__ = ["TINY", "UNITS", "Scale", "main", "recipe", "work"]

HERE = Path(__file__).parent
UNITS: dict[str, dict[str, Any]] = {
    "3D": dict(model="unet3d", options=("skip=full", "narrow=true")),
    "P1SC1": dict(options=("streams=1", "depth=1")),
    "P2SC2": dict(options=("streams=2", "depth=2")),
    "P2SC3": dict(options=("streams=2", "depth=3")),
}


@dataclass(frozen=True)
class Scale:
    """How large everything is; as the fields of the recipe em_short."""

    widths: tuple[int, ...] = (16, 32, 64)
    patch: tuple[int, ...] = (32, 64, 64)
    batch_size: int = 2
    train_samples: int = 64
    val_samples: int = 8
    epochs: int = 30
    lr: float = 1e-3


TINY = Scale((4, 8), (8, 32, 32), 1, train_samples=2, val_samples=1, epochs=1)


def recipe(scale: Scale, name: str, seed: int) -> Recipe:
    """The recipe of a network and seed."""
    return replace(get_recipe("em_short"), **asdict(scale), **UNITS[name], seed=seed)


def trained(scale: Scale, name: str, seed: int, runs: Path, device: str) -> Path:
    """The run folder, trained to its end."""
    folder = runs / f"{name}_{seed}"
    metrics = folder / "metrics.json"
    if not metrics.is_file() or not json.loads(metrics.read_text())["finished"]:
        more: dict[str, Any] = dict(resume=folder.exists(), accelerator=device, progress=False)
        run(recipe(scale, name, seed), folder, **more)
    return folder


def work(scale: Scale, tf32: bool = False) -> Work:
    """What the command measures.

    Args:
        tf32: Sessions of training on a GPU rounded products to 10 bits.
    """
    measure = partial(_one, scale, tf32)
    return Work("neurites", asdict(scale), tuple(UNITS), measure, section, draw)


def _one(scale: Scale, tf32: bool, name: str, seed: int, runs: Path, device: str) -> dict[str, Any]:
    # it needs waterz
    from lean3d.recipes.evaluation import evaluate

    folder = trained(scale, name, seed, runs, device)
    metrics = json.loads((folder / "metrics.json").read_text())
    (scored,) = evaluate(folder).scored.values()
    best = min(scored.rows, key=lambda row: row["vi"])
    rows = metrics["epochs"]
    steps = scale.train_samples // scale.batch_size
    sessions = json.loads((folder / "recipe.json").read_text())["sessions"]
    return {
        "params": sum(p.numel() for p in load_run(folder)[0].parameters()),
        "step_seconds": round(median(row["train_seconds"] for row in rows) / steps, 4),
        "train_loss": [round(row["train_loss"], 4) for row in rows],
        **{key: round(best[key], 4) for key in ("vi_merge", "vi_split", "vi")},
        "threshold": best["threshold"],
        "trained": [session | ({"tf32": True} if tf32 else {}) for session in sessions],
    }


def main(argv: list[str] | None = None) -> None:
    parser = flags("papers.pmscn.neurites", str(__doc__))
    parser.add_argument("--train", action="store_true", help="train, and leave scores for later")
    asked = parser.parse_args(argv)
    scale = TINY if asked.tiny else Scale()
    if not asked.train:
        carry_out(work(scale, asked.tf32), asked, parser, HERE)
        return
    prepare(asked.device, asked.tf32)
    for seed in asked.seeds:
        for name in asked.networks or UNITS:
            folder = trained(scale, name, seed, asked.runs / "neurites", asked.device)
            # to score it the best weights are enough
            (folder / "checkpoints" / "last.ckpt").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
