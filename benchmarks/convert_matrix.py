"""Convert the zoos; write results/convert_<yyyy-mm>.md and .csv: what converts, and why not.

    python benchmarks/convert_matrix.py [--zoo torchvision timm timm-meta smp] [--how ACS]

torchvision: every classification and segmentation CNN, by value. timm: the smallest model of every
convolutional family by value (timm), and all of them by size (timm-meta, without memory). smp:
every decoder with a ResNet, an EfficientNet and a MobileNet encoder, by value.
"""

import argparse
import csv
import datetime
import fnmatch
import multiprocessing
import sys
import time
import warnings
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from zoo import smp, timm, torchvision

import lean3d

RESULTS = Path(__file__).parent / "results"


def words(text: str) -> list[str]:
    return text.split()


NOT_CNNS = ("*vit*", "*swin*", "*maxvit*")
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


@dataclass
class Outcome:
    zoo: str
    model: str
    how: str
    result: str
    largest_error: str
    seconds: float
    reason: str = ""


def torchvision_names() -> list[str]:
    models = torchvision.models
    names = models.list_models(module=models, exclude=NOT_CNNS)
    return [*names, *models.list_models(module=models.segmentation)]


def timm_names(family: str) -> list[str]:
    names = timm.list_models(module=family)
    return [n for n in names if not any(fnmatch.fnmatch(n, pattern) for pattern in ATTENTION)]


def smallest(family: str) -> str:
    """The model of a family with the fewest parameters."""
    counts = {}
    for name in timm_names(family):
        with torch.device("meta"):
            model = timm.create_model(name)
        counts[name] = sum(p.numel() for p in model.parameters())
    return min(counts, key=lambda name: counts[name])


def names_of(zoo: str) -> list[str]:
    if zoo == "torchvision":
        return torchvision_names()
    if zoo == "timm":
        return [smallest(family) for family in FAMILIES]
    if zoo == "timm-meta":
        return [name for family in FAMILIES for name in timm_names(family)]
    return [f"{decoder} {encoder}" for decoder in DECODERS for encoder in ENCODERS]


def build(zoo: str, name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    if zoo == "torchvision":
        bare = {} if "_resnet" not in name and "lraspp" not in name else {"weights_backbone": None}
        return torchvision.models.get_model(name, weights=None, **bare)
    if zoo == "smp":
        decoder, encoder = name.split()
        return getattr(smp, decoder)(encoder, encoder_weights=None, classes=3)
    if zoo == "timm":
        return timm.create_model(name)
    with torch.device("meta"):
        return timm.create_model(name)


def attempt(job: tuple[str, str, str]) -> Outcome:
    zoo, name, how = job
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    start = time.perf_counter()
    try:
        model = build(zoo, name)
        start = time.perf_counter()
        result, error, reason = convert(model, getattr(lean3d, how)())
    except Exception as problem:  # the table says what went wrong, whatever it was
        kind = "" if isinstance(problem, lean3d.ConversionError) else f"{type(problem).__name__}: "
        result, error, reason = "refused", "", kind + " ".join(str(problem).split())
    seconds = round(time.perf_counter() - start, 2)
    return Outcome(zoo, name, how, result, error, seconds, reason)


def convert(model: torch.nn.Module, how: object) -> tuple[str, str, str]:
    """Grade, largest error and, for a planar one, why it is no better."""
    why = ""
    try:
        record = lean3d.convert(model, how).conversion
    except lean3d.ConversionError as problem:
        record = lean3d.convert(model, how, accept="planar").conversion
        why = " ".join(str(problem).split())
    errors = [check.error for check in record.checks if check.passed and check.error is not None]
    grade = "sizes" if record.grade == "unchecked" else record.grade
    return grade, f"{max(errors):.0e}" if errors else "", why


def write(outcomes: list[Outcome]) -> Path:
    """The table as CSV, its counts and everything that is not isotropic as Markdown."""
    today = datetime.date.today()
    path = RESULTS / f"convert_{today:%Y-%m}.csv"
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(asdict(outcomes[0])))
        table.writeheader()
        table.writerows(map(asdict, outcomes))
    lines = [f"# convert\n\n{__doc__}\n", f"torch {torch.__version__}, torchvision "]
    lines[-1] += (
        f"{torchvision.__version__}, timm {timm.__version__}, smp {smp.__version__}; {today}.\n"
    )
    lines += ["| zoo | how | result | models |", "|---|---|---|---:|"]
    for key, count in sorted(Counter((o.zoo, o.how, o.result) for o in outcomes).items()):
        lines.append(f"| {' | '.join(key)} | {count} |")
    lines += ["\n| zoo | model | how | result | reason |", "|---|---|---|---|---|"]
    for o in outcomes:
        if o.result in ("planar", "refused"):
            reason = o.reason.replace("|", "/")[:300]
            lines.append(f"| {o.zoo} | {o.model} | {o.how} | {o.result} | {reason} |")
    path.with_suffix(".md").write_text("\n".join(lines) + "\n")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    zoos = ["torchvision", "timm", "timm-meta", "smp"]
    parser.add_argument("--zoo", nargs="+", default=zoos, choices=zoos)
    parser.add_argument("--how", nargs="+", default=["ACS"])
    parser.add_argument("--only", default="*", help="a pattern for the models' names")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    jobs = [
        (zoo, name, how)
        for zoo in given.zoo
        for name in names_of(zoo)
        for how in given.how
        if fnmatch.fnmatch(name, given.only)
    ]
    outcomes = []
    with multiprocessing.get_context("spawn").Pool(given.jobs, maxtasksperchild=20) as pool:
        for outcome in pool.imap(attempt, jobs):
            outcomes.append(outcome)
            print(*asdict(outcome).values(), flush=True)
    if given.only == "*":
        print(write(outcomes), file=sys.stderr)


if __name__ == "__main__":
    main()
