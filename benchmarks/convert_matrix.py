"""Convert the zoos; write results/convert_<yyyy-mm>.md and .csv: what converts, and why not.

    python benchmarks/convert_matrix.py [--zoo torchvision timm timm-meta smp] [--how ACS]

- torchvision: every classification and segmentation CNN, by value;
- torchvision-six: six of them, to run with `--how all`, by value;
- timm: the smallest model of every convolutional family, by value;
- timm-smallest-meta: the same by size, without memory, to run with `--how all`;
- timm-meta: every model of those families, by size;
- smp: every decoder with a ResNet, an EfficientNet and a MobileNet encoder, by value.

Every row is written as soon as it is known, and what the table holds is not run again, so a run
that was stopped goes on where it was; `--again refused planar` runs those rows anew. The largest
model by value, regnet_y_128gf of torchvision, needs 11 GB of memory.
"""

import argparse
import csv
import datetime
import fnmatch
import multiprocessing
import signal
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from zoo import FOLDER, smp, timm, torchvision

import lean3d

RESULTS = Path(__file__).parent / "results"
ROOTS = [f"{root}/" for root in (FOLDER, Path(lean3d.__file__).parents[1])]


def words(text: str) -> list[str]:
    return text.split()


NOT_CNNS = ("*vit*", "*swin*", "*maxvit*")
SIX = words("""
    resnet18 vgg16 densenet121 mobilenet_v3_large convnext_tiny deeplabv3_resnet101
""")
FAMILIES = words("""
    byobnet convmixer convnext cspnet cspnext densenet dla dpn efficientnet fasternet fastvit
    focalnet ghostnet hardcorenas hgnet hrnet inception_next inception_resnet_v2 inception_v3
    inception_v4 lcnetv2 mambaout metaformer mobilenetv3 nasnet nfnet pnasnet rdnet regnet
    repghost repvit res2net resnest resnet resnetv2 rexnet selecsls senet sknet starnet tresnet
    vgg vovnet xception xception_aligned
""")
# networks of these families that are no CNNs: attention over a grid of tokens
ATTENTION = words("""
    caformer* fastvit_sa* fastvit_ma* fastvit_mci* mci* mobilenetv4_hybrid* resnet*_clip*
    bat_resnext* *_gelu_clip* convformer_attn* botnet* halonet* lambda_resnet* lamhalobotnet*
    sehalonet* eca_botnext* eca_halonext* haloregnetz* halo2botnet* sebotnet* gcresnext_attn*
""")
DECODERS = ["Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet", "DeepLabV3"]
DECODERS += ["DeepLabV3Plus", "PAN", "UPerNet", "Segformer"]
ENCODERS = ["resnet18", "efficientnet-b0", "mobilenet_v2"]
HOWS = ["ACS", "MeanACS", "SoftACS", "Planar", "Inflate"]
PER_PROCESS = 20  # models, so that what they leave in memory does not add up

Job = tuple[str, str, str]  # zoo, model, how


@dataclass
class Outcome:
    zoo: str
    model: str
    how: str
    result: str
    largest_error: str
    seconds: str
    reason: str = ""

    @property
    def job(self) -> Job:
        return (self.zoo, self.model, self.how)


def torchvision_names() -> list[str]:
    models = torchvision.models
    names = models.list_models(module=models, exclude=NOT_CNNS)
    return [*names, *models.list_models(module=models.segmentation)]


def timm_names(family: str) -> list[str]:
    names = timm.list_models(module=family)
    return [n for n in names if not any(fnmatch.fnmatch(n, pattern) for pattern in ATTENTION)]


@cache
def smallest(family: str) -> str:
    """The model of a family with the fewest parameters."""
    counts = {}
    for name in timm_names(family):
        with torch.device("meta"):
            model = timm.create_model(name)
        counts[name] = sum(p.numel() for p in model.parameters())
    return min(counts, key=lambda name: counts[name])


NAMES = {
    "torchvision": torchvision_names,
    "torchvision-six": lambda: SIX,
    "timm": lambda: [smallest(family) for family in FAMILIES],
    "timm-smallest-meta": lambda: [smallest(family) for family in FAMILIES],
    "timm-meta": lambda: [name for family in FAMILIES for name in timm_names(family)],
    "smp": lambda: [f"{decoder} {encoder}" for decoder in DECODERS for encoder in ENCODERS],
}


def build(zoo: str, name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    if zoo.startswith("timm"):
        return timm.create_model(name)
    if zoo == "smp":
        decoder, encoder = name.split()
        return getattr(smp, decoder)(encoder, encoder_weights=None, classes=3)
    maps = name in torchvision.models.list_models(module=torchvision.models.segmentation)
    bare = {"weights_backbone": None} if maps else {}
    return torchvision.models.get_model(name, weights=None, **bare)


def attempt(job: Job, limit: int) -> Outcome:
    zoo, name, how = job
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    signal.signal(signal.SIGALRM, _stop)
    signal.alarm(limit)
    start = time.perf_counter()
    try:
        with torch.device("meta" if zoo.endswith("meta") else "cpu"):
            model = build(zoo, name)
        start = time.perf_counter()
        result, error, reason = convert(model, getattr(lean3d, how)())
    except Exception as problem:  # the table says what went wrong, whatever it was
        kind = "" if isinstance(problem, lean3d.ConversionError) else f"{type(problem).__name__}: "
        result, error, reason = "refused", "", kind + _line(problem)
    finally:
        signal.alarm(0)
    return Outcome(*job, result, error, f"{time.perf_counter() - start:.2f}", reason)


def attempts(jobs: list[Job], processes: int, limit: int) -> Iterator[Outcome]:
    """In fresh processes; a killed one, for memory say, ends the run with an error."""
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, fresh) as pool:
        yield from pool.map(attempt, jobs, repeat(limit))


def _stop(*_: Any) -> None:
    raise TimeoutError("stopped at the time limit")


def _line(problem: Exception) -> str:
    text = " ".join(str(problem).split())
    for root in ROOTS:
        text = text.replace(root, "")
    return text


def convert(model: torch.nn.Module, how: Any) -> tuple[str, str, str]:
    """Grade, largest error and, for a planar one, which check it fails and where."""
    record = lean3d.convert(model, how, accept="planar").conversion
    errors = [check.error for check in record.checks if check.passed and check.error is not None]
    failed = [str(check) for check in record.checks if not check.passed]
    grade = "sizes" if record.grade == "unchecked" else record.grade
    return grade, f"{max(errors):.0e}" if errors else "", "; ".join(failed)


def read(table: Path) -> dict[Job, Outcome]:
    if not table.exists():
        return {}
    with table.open(newline="") as file:
        outcomes = [Outcome(**row) for row in csv.DictReader(file)]
    return {outcome.job: outcome for outcome in outcomes}


def write(table: Path, outcomes: list[Outcome], mode: str) -> None:
    with table.open(mode, newline="") as file:
        rows = csv.DictWriter(file, Outcome.__dataclass_fields__)
        if file.tell() == 0:
            rows.writeheader()
        rows.writerows(map(asdict, outcomes))


def summarise(table: Path, outcomes: list[Outcome]) -> None:
    """The counts, and everything that is neither isotropic nor of the right sizes, as Markdown."""
    versions = ", ".join(f"{m.__name__} {m.__version__}" for m in (torch, torchvision, timm, smp))
    lines = [f"# convert\n\n{__doc__}\n{versions}; {datetime.date.today()}.\n"]
    lines += ["| zoo | how | result | models |", "|---|---|---|---:|"]
    for key, count in sorted(Counter((o.zoo, o.how, o.result) for o in outcomes).items()):
        lines.append(f"| {' | '.join(key)} | {count} |")
    lines += ["\n| zoo | model | how | result | reason |", "|---|---|---|---|---|"]
    for o in outcomes:
        if o.result in ("planar", "refused"):
            reason = o.reason.replace("|", "/")[:300]
            lines.append(f"| {o.zoo} | {o.model} | {o.how} | {o.result} | {reason} |")
    table.with_suffix(".md").write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    zoos = ["torchvision", "timm", "timm-meta", "smp"]
    parser.add_argument("--zoo", nargs="*", default=zoos, choices=NAMES)
    parser.add_argument("--how", nargs="+", default=["ACS"], choices=[*HOWS, "all"])
    parser.add_argument("--only", default="*", help="a pattern for the models' names")
    parser.add_argument("--again", nargs="*", default=[], help="results whose rows are run anew")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--limit", type=int, default=900, help="seconds for one model")
    month = f"{datetime.date.today():%Y-%m}"
    parser.add_argument("--table", type=Path, default=RESULTS / f"convert_{month}.csv")
    given = parser.parse_args()
    hows = HOWS if given.how == ["all"] else given.how
    done = read(given.table)
    wanted = [(z, name, how) for z in given.zoo for name in NAMES[z]() for how in hows]
    wanted = [job for job in wanted if fnmatch.fnmatch(job[1], given.only)]
    jobs = [job for job in wanted if job not in done or done[job].result in given.again]
    for first in range(0, len(jobs), PER_PROCESS):
        for outcome in attempts(jobs[first : first + PER_PROCESS], given.jobs, given.limit):
            print(*asdict(outcome).values(), flush=True)
            done[outcome.job] = outcome
            write(given.table, [outcome], "a")
    outcomes = [done[job] for job in sorted(done)]
    write(given.table, outcomes, "w")
    summarise(given.table, outcomes)


if __name__ == "__main__":
    main()
