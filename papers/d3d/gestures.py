"""D3D on gestures of moving digits: `python -m papers.d3d.gestures`, about an hour on one core.

Paper: Köpüklü et al., Dissected 3D CNNs, arXiv:2009.14639, Tables 2 to 4, Figs 6 and 7
Trains what `runs/gestures` does not hold yet, goes on with what was stopped, and writes the
numbers, the section of README and the figures.
"""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lean3d.data import MOTIONS, MovingDigits
from lean3d.files import write_between, write_text
from lean3d.recipes import ClassificationRecipe, Recipe, RecurrenceRecipe, get_recipe
from lean3d.recipes.runs import load_run, run
from lean3d.train.provenance import provenance
from papers.d3d.gesture_figures import draw_causality, draw_cost, draw_lengths
from papers.d3d.gesture_scores import Network, Videos, heads_by_frame, score
from papers.d3d.gesture_text import section

__all__ = ["Plan", "main", "plan", "trained"]

HERE, RUNS = Path(__file__).parent, Path("runs") / "gestures"
SKIPS = ("concat", "none", "sum")
HEADS = [(kind, layers) for kind in ("lstm", "gru") for layers in (1, 2, 3)]
LENGTHS = (4, 8, 12, 16, 24, 32)
ERASED = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
# test videos: digits no run was trained on, motions no run was chosen by
TESTS, TEST_SEED = 460, 99


@dataclass(frozen=True)
class Plan:
    """All runs, by what they are called in tables.

    Args:
        networks: Whole networks; the first gives the features.
        heads: Recurrent heads, for Table 3.
        lengths: LSTMs trained on pieces of so many features, for Fig 6.
    """

    networks: dict[str, ClassificationRecipe]
    heads: dict[str, RecurrenceRecipe]
    lengths: dict[int, RecurrenceRecipe]


def plan(out: Path, **small: Any) -> Plan:
    """The recipes; `small` are fields that a trial changes in all of them."""
    ours = replace(get_recipe("digits"), **small)
    rival = replace(get_recipe("digits_baseline"), **small)
    networks = {f"D-ResNet-18, {s}": replace(ours, name=s, options=(f"skip={s}",)) for s in SKIPS}
    networks["3D-ResNet-18"] = replace(rival, name="baseline")
    first = str(out / SKIPS[0])
    deep = replace(get_recipe("digits_lstm"), start_from=first, **small)

    def head(kind: str, layers: int, name: str, **more: Any) -> RecurrenceRecipe:
        size = (*deep.options[:1], f"head={kind}", f"layers={layers}", *deep.options[3:])
        return replace(deep, name=name, options=size, **more)

    heads = {f"{n}-layer {k.upper()}": head(k, n, f"{k}{n}") for k, n in HEADS}
    lengths = {
        n: head("lstm", 2, f"length{n}", shortest=n, longest=n, slower=())
        for n in LENGTHS
        if n <= deep.video
    }
    return Plan(networks, heads, lengths)


def trained(recipe: Recipe, out: Path) -> tuple[Path, dict[str, Any]]:
    """The recipe's folder and metrics, after what is missing of its run."""
    folder = out / recipe.name
    print(f"{recipe.name}: {recipe.epochs} epochs of {recipe.train_samples}", file=sys.stderr)
    there = (folder / "checkpoints" / "last.ckpt").exists()
    return folder, run(recipe, folder, resume=there)


def measure(todo: Plan, out: Path, videos: Videos) -> dict[str, Any]:
    """Train what is missing and score everything on the test videos."""
    rows = []
    for name, recipe in todo.networks.items():
        folder, metrics = trained(recipe, out)
        row = score(name, Network(*load_run(folder)), videos)
        rows.append({**row, "one clip": metrics["best_val_top1"]})
    source: Any = load_run(out / SKIPS[0])[0]
    features = videos.features(source)
    heads = {"fc": source.head}
    heads |= {n: load_run(trained(r, out)[0])[0].head for n, r in todo.heads.items()}
    lengths = {n: load_run(trained(r, out)[0])[0].head for n, r in todo.lengths.items()}
    return {
        "networks": rows,
        **heads_by_frame(heads, features, videos.label_N, ERASED),
        "lengths": {
            n: heads_by_frame({"": head}, features, videos.label_N, ())["heads"][0]["top-1"]
            for n, head in lengths.items()
        },
        "chance": 1 / len(MOTIONS),
        "tests": len(videos.label_N),
        "where": provenance(),
    }


def write(found: dict[str, Any], folder: Path) -> None:
    """The numbers as JSON, the section of README, and three figures."""
    write_text(folder / "gestures.json", json.dumps(found, indent=1) + "\n")
    draw_cost(found, folder / "gestures_cost")
    draw_causality(found, folder / "gestures_causality")
    draw_lengths(found, folder / "gestures_lengths")
    write_between(folder / "README.md", "gestures", section(found))


def main() -> None:
    digits = get_recipe("digits")
    size = dict(split="val", frames=digits.video, size=digits.size)
    videos = Videos(MovingDigits(TESTS, TEST_SEED, **size))
    found = measure(plan(RUNS), RUNS, videos)
    write(found, HERE)
    print(section(found))


if __name__ == "__main__":
    main()
