"""What lightening a trained network costs in accuracy: all cuts, each alone, and two others.

    python benchmarks/lighten_trained.py --runs DIR [--seeds 0 1 2] [--tasks unet] [--lines time]
    python benchmarks/lighten_trained.py --runs DIR --write benchmarks/results/FILE.md

For each seed a 3D U-Net learns the shapes and a 3D-ResNet-18 the gestures. Then each is made
lighter to a half and to a quarter of its measured time: by `lean3d lighten` with all cuts
(mixture), with each family alone, and by torch-pruning's uniform channel pruning; `scratch` is the
mixture's network from random weights without a teacher. All train for a fifth of the first
network's epochs, with the same loss, rates and order of samples, but scratch has no teacher. Only
the last epoch is validated, so that none is chosen; the scores of the table are of as many samples
more as it takes to tell lines apart (TEST), which no run has seen. The lines taylor, output and
kernel are mixtures by another criterion than fisher.

Beside the table --write keeps all entries in FILE.json, and adds those that are there already: the
seeds of one table may be of several runs of this command.

One thread, whose own processor time counts, so that other programs do not. An entry is kept in a
file of its own in DIR/entries: a command that was killed goes on. torch-pruning is one of the
PEERS of the Makefile.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lean3d.conversion.surgery.copies import duplicate
from lean3d.errors import LeanError
from lean3d.files import write_text
from lean3d.lightening import CUTS
from lean3d.lightening.clock import Clock, in_turns
from lean3d.lightening.times import Times
from lean3d.metrics import confusion_counts, dice_of_counts
from lean3d.recipes import get_recipe
from lean3d.recipes.build import Start
from lean3d.recipes.datasets import loaders
from lean3d.recipes.lighten import Lighter, lighten_run
from lean3d.recipes.load import load_run, read_recipe, read_record
from lean3d.recipes.runs import run
from lean3d.report.table import format_table
from lean3d.train.provenance import provenance

TARGETS = (0.5, 0.25)
# mixtures whose errors are judged by another criterion than fisher, the default
CRITERIA = ("taylor", "output", "kernel")
LINES = ("mixture", *CUTS, *CRITERIA, "pruned", "scratch")
# samples of a score, and from the seed of a run's own to theirs
TEST, NEW = {"unet": 1000, "resnet": 4600}, 1000
LAST = 1000  # epochs between validations: the last one is always validated
# inputs of a pass: small clips one by one take the time of calls, not of arithmetic
BATCH = {"unet": 1, "resnet": 4}
# below this share all lines train in single precision: thin layers on small maps are wrong in half,
# and so are depthwise ones at any share
EXACT = 0.2
QUIET: dict[str, Any] = dict(accelerator="cpu", progress=False)


def tasks(seed: int) -> dict[str, Any]:
    """The recipes of the first networks."""
    common: dict[str, Any] = dict(schedule="cosine", val_every=LAST, channels_last=True, seed=seed)
    common["precision"] = "bf16-mixed"
    unet = replace(
        get_recipe("shapes3d"),
        patch=(32, 32, 32),
        widths=(32, 64, 128),
        batch_size=2,
        train_samples=360,
        val_samples=60,
        epochs=40,
        lr=2e-3,
        **common,
    )
    # torchvision's r3d_18 at half of its width
    resnet = replace(
        get_recipe("digits_baseline"),
        model="resnet3d_18",
        options=("pool1=false",),
        widths=(32, 64, 128, 256),
        video=8,
        clip=8,
        size=48,
        train_samples=1150,
        val_samples=690,
        epochs=40,
        warmup=70,
        **common,
    )
    return {"unet": unet, "resnet": resnet}


def how(task: str, recipe: Any, share: float, line: str = "mixture") -> Lighter:
    more: dict[str, Any] = dict(backends=("onednn",), samples=2, batch=BATCH[task])
    more |= {"criterion": line} if line in CRITERIA else {}
    more |= {"precision": "32"} if share < EXACT or line == "groups" else {}
    cuts = (line,) if line in CUTS else tuple(CUTS)
    return Lighter(time=share, cuts=cuts, epochs=recipe.epochs // 5, **more)


def teacher(runs: Path, task: str, seed: int) -> dict[str, Any]:
    """Train a first network, if that is not done."""
    folder = runs / f"{task}_{seed}"
    run(tasks(seed)[task], folder, resume=folder.is_dir(), **QUIET)
    return {}


@torch.inference_mode()
def score(folder: Path, samples: int) -> float:
    """Return the Dice, or the top-1, of a run's network on samples that are new to it."""
    model, recipe = load_run(folder)
    fresh = replace(recipe, seed=recipe.seed + NEW, val_samples=samples, batch_size=4)
    counts = torch.zeros((recipe.num_outputs,) * 2, dtype=torch.int64)
    for x, label in loaders(fresh)[1]:
        counts += confusion_counts(model(x).argmax(1), label, recipe.num_outputs)
    if recipe.task == "segmentation":
        return float(dice_of_counts(counts)[1:].mean())
    return float(counts.diagonal().sum() / counts.sum())


def lighter(line: str, runs: Path, task: str, seed: int, share: float) -> dict[str, Any]:
    """Make one lighter by some cuts, and train it on."""
    recipe, folder = tasks(seed)[task], runs / f"{task}_{seed}_{line}_{100 * share:g}"
    settings: dict[str, Any] = dict(resume=True, tell=print, **QUIET)
    try:
        asked = how(task, recipe, share, line)
        _, record = lighten_run(runs / f"{task}_{seed}", folder, asked, **settings)
    except LeanError as error:
        if "cannot be met" not in str(error):
            raise
        return {"refused": str(error)}
    said = {row["path"]: row["after"] for row in record["layers"]}
    shares = {name: record[name] / record["before"] for name in ("measured", "predicted")}
    return {**shares, "ms": record["before"], "became": said}


def pruned(runs: Path, task: str, seed: int, share: float) -> dict[str, Any]:
    """Prune all layers by one ratio with torch-pruning, to that share of the time, and train on."""
    import torch_pruning

    first = runs / f"{task}_{seed}"
    model, old = load_run(first)
    example = torch.randn(BATCH[task], old.in_channels, *old.input_size)
    clock = Clock("onednn", "float32", example.device, Times(None), 600.0)
    whole = clock.runner(model, (example,))
    head = [m for m in model.modules() if isinstance(m, nn.Conv3d | nn.Linear)][-1]

    def thin(ratio: float) -> nn.Module:
        made = duplicate(model)
        ignored = [dict(made.named_modules())[n] for n, m in model.named_modules() if m is head]
        torch_pruning.pruner.BasePruner(
            made,
            example,
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=ratio,
            ignored_layers=ignored,
        ).step()
        return made.eval()

    def timed(made: nn.Module) -> float:
        calls = {"": (whole, (example,)), "thin": (clock.runner(made, (example,)), (example,))}
        times = in_turns(calls, 11)
        pairs = zip(times["thin"], times[""], strict=True)
        return statistics.median(a / b for a, b in pairs)

    # the largest network within the target
    low, high, found = 0.0, 0.95, None
    for _ in range(7):
        ratio = (low + high) / 2
        made = thin(ratio)
        measured = timed(made)
        if measured <= 1.02 * share:
            high, found = ratio, (made, measured, ratio)
        else:
            low = ratio
    if found is None:
        return {"refused": f"{measured:.2f} at a ratio of {ratio:.2f}"}
    made, measured, ratio = found
    recipe = how(task, old, share).recipe(old, first)
    recipe = replace(recipe, cuts=tuple(sizes(model, made)))
    folder = runs / f"{task}_{seed}_pruned_{100 * share:g}"
    run(recipe, folder, start=Start(made.state_dict(), old.num_outputs), **QUIET)
    return {"measured": measured, "ratio": ratio}


def sizes(model: nn.Module, thin: nn.Module) -> Iterator[str]:
    """What became of each layer whose channels are fewer, as recipes hold it."""
    modules = dict(thin.named_modules())
    names = {
        "inputs": ("in_channels", "in_features"),
        "outputs": ("out_channels", "out_features", "num_features"),
    }
    for path, module in model.named_modules():
        kept = {
            word: getattr(modules[path], name)
            for word, attributes in names.items()
            for name in attributes
            if not module._modules
            and getattr(module, name, None) != getattr(modules[path], name, None)
        }
        if kept:
            yield " ".join([path, *(f"{word}={number}" for word, number in kept.items())])


def scratch(runs: Path, task: str, seed: int, share: float) -> dict[str, Any]:
    """Train the mixture's network from random weights, without a teacher."""
    mixture = runs / f"{task}_{seed}_mixture_{100 * share:g}"
    if not mixture.is_dir():
        return {"refused": "the mixture was"}
    recipe = replace(read_recipe(mixture), teacher=None)
    folder = runs / f"{task}_{seed}_scratch_{100 * share:g}"
    run(recipe, folder, resume=folder.is_dir(), **QUIET)
    ratio = read_record(mixture)["lightening"]["ratio"]
    return {"measured": ratio}


def entry(runs: Path, name: str, measure: Callable[[], dict[str, Any]]) -> None:
    """Measure, score and write an entry, or what of it is not there yet."""
    path = runs / "entries" / f"{name}.json"
    found, began = read(path) if path.is_file() else {}, time.process_time()
    if not found:
        found = measure()
        found |= {"seconds": time.process_time() - began, "where": provenance()}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(found, indent=1) + "\n")
    samples = TEST[name.partition("_")[0]]
    if "refused" not in found and found.get("samples") != samples:
        found |= {"score": score(runs / name, samples), "samples": samples}
        shown = {k: v for k, v in found.items() if k not in ("became", "where")}
        write_text(path, json.dumps(found, indent=1) + "\n")
        print(name, shown, flush=True)


def entries(runs: Path, kept: Path) -> dict[str, Any]:
    """The entries of the runs, and those kept before."""
    found = read(kept) if kept.is_file() else {}
    found |= {path.stem: read(path) for path in runs.glob("entries/*.json")}
    return dict(sorted(found.items()))


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def text(found: dict[str, Any]) -> str:
    """The results as a page: means and spreads over the seeds that are finished."""
    lines = ["# Trained networks made lighter: accuracy at a half of the time and at less", ""]
    places = {
        f"{one['hardware']}, torch {one['torch']}, commit {one['commit']}, {one['date'][:10]}"
        for one in (entry["where"] for entry in found.values())
    }
    lines += [
        f"`benchmarks/lighten_trained.py`, 1 thread; {'; '.join(sorted(places))}; float32 by "
        "`onednn`, processor time. Scores in percent, mean and standard deviation over seeds.",
    ]
    for task, recipe in tasks(0).items():
        firsts = {n: one for n, one in found.items() if n.rpartition("_")[0] == task}
        if not firsts:
            continue
        metric = "Dice" if task == "unet" else "top-1"
        rows = [_row(metric, "the first network", None, firsts)]
        percents = {
            float(name.rpartition("_")[2]) for name in found.keys() - firsts if task in name
        }
        for percent, line in product(sorted(percents, reverse=True), LINES):
            share, ends = percent / 100, f"_{line}_{percent:g}"
            own = {n: found[n + ends] for n in firsts if n + ends in found}
            other = f"_mixture_{percent:g}"
            mixtures = {n: found[n + other] for n in own if n + other in found}
            rows += [_row(metric, line, share, own, mixtures)] if own else []
        title = f"{recipe.model}, widths {recipe.widths}, {recipe.data} of {recipe.input_size}"
        lines += ["", f"## {title}", ""]
        lines += [
            f"{recipe.epochs} epochs, then {recipe.epochs // 5}; time of {BATCH[task]} at once; "
            f"{metric} of {TEST[task]} samples that are new to all.",
            "",
        ]
        lines += ["```text", format_table(rows), "```"]
        least = {n: one["refused"] for n, one in found.items() if "refused" in one and task in n}
        lines += ["", *(f"- {n}: {why}" for n, why in sorted(least.items()))]
    return "\n".join(lines) + "\n"


def _row(
    metric: str,
    line: str,
    share: float | None,
    own: dict[str, Any],
    mixtures: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a row of the table.

    Args:
        own: The entries of the line, by those of their first networks.
        mixtures: Those of the mixture, to be compared seed by seed.
    """
    # scores of other samples, in entries from before, are not to be compared
    done = {n: one for n, one in own.items() if one.get("samples") in TEST.values()}

    def shown(values: Sequence[float], digits: int) -> str:
        if not values:
            return ""
        wide = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
        return f"{statistics.mean(values):.{digits}f}{wide}"

    def all_of(name: str) -> list[float]:
        return [one[name] for one in done.values() if name in one]

    ahead = [
        100 * (done[n]["score"] - one["score"])
        for n, one in (mixtures or {}).items()
        if n in done and "samples" in one
    ]
    return {
        "target": share or 1.0,
        "by": line,
        "measured": shown(all_of("measured"), 3),
        "predicted": shown(all_of("predicted"), 3),
        metric: shown([100 * value for value in all_of("score")], 2)
        or ("refused" if all("refused" in one for one in own.values()) else ""),
        "over the mixture": "" if line == "mixture" else shown(ahead, 2),
        "seeds": len(own),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--tasks", nargs="*", default=list(tasks(0)), choices=list(tasks(0)))
    parser.add_argument("--lines", nargs="*", default=list(LINES), choices=LINES)
    parser.add_argument("--targets", type=float, nargs="*", default=list(TARGETS))
    parser.add_argument("--write", type=Path, help="write the table of all entries, and train none")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.write:
        kept = asked.write.with_suffix(".json")
        found = entries(asked.runs, kept)
        write_text(kept, json.dumps(found, indent=1) + "\n")
        write_text(asked.write, text(found))
        return
    for seed in asked.seeds:
        for task in asked.tasks:
            entry(asked.runs, f"{task}_{seed}", partial(teacher, asked.runs, task, seed))
            for share, line in product(asked.targets, asked.lines):
                work = {"pruned": pruned, "scratch": scratch}.get(line, partial(lighter, line))
                name = f"{task}_{seed}_{line}_{100 * share:g}"
                entry(asked.runs, name, partial(work, asked.runs, task, seed, share))


if __name__ == "__main__":
    main()
