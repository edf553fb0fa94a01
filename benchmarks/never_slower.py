"""`lean3d.optimize` on every network against its eager form, by torch alone, on one core.

    python benchmarks/never_slower.py [--rounds 9] [--only registry timm torchvision smp]

The networks are those of the registry, and of 2D networks converted by ACS the smallest model of
every family of timm, one of every family of torchvision, and every decoder of smp with a ResNet-18.
Inputs are small. Times are those of the processor spent by this process, calls in turns, so that
the ratios hold on a machine that does other work. Every row is written as soon as it is known, and
what the table holds is not run again, so a run that was stopped goes on where it was.
"""

import argparse
import csv
import datetime
import gc
import time
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch
from convert_matrix import DECODERS, build, words
from run import hardware
from torch import Tensor, nn

import lean3d
from lean3d.cost import latency
from lean3d.cost.latency import interleaved, ratios
from lean3d.files import write_text
from lean3d.models import find_model

HERE = Path(__file__).parent / "results"
BACKENDS = ["eager", "fused", "channels_last", "onednn"]
TORCHVISION = words("""
    alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3
    mnasnet0_5 mobilenet_v2 mobilenet_v3_small regnet_x_400mf regnet_y_400mf resnet18
    resnext50_32x4d shufflenet_v2_x0_5 squeezenet1_1 vgg11_bn fcn_resnet50
    deeplabv3_mobilenet_v3_large lraspp_mobilenet_v3_large
""")
# the smallest on which a network runs is taken
SIZES = ((8, 64, 64), (16, 64, 64), (16, 112, 112), (32, 128, 128), (64, 64, 64), (96, 96, 96))
COLUMNS = ["kind", "network", "input", "backend", "eager ms", "ms", "ratio", "processor"]
# of both, so that a choice between equals is not counted as slower
NOISE = 0.03


def jobs() -> dict[str, list[str]]:
    """The networks by kind."""
    known = list(csv.DictReader((HERE / "convert_2026-11.csv").open()))
    return {
        "registry": lean3d.list_models(),
        "timm": sorted({row["model"] for row in known if row["zoo"] == "timm"}),
        "torchvision": TORCHVISION,
        "smp": [f"{decoder} resnet18" for decoder in DECODERS],
    }


def network(kind: str, name: str) -> tuple[nn.Module, Tensor]:
    """The network and a small input on which it runs."""
    torch.manual_seed(0)
    if kind == "registry":
        model, paper = lean3d.create_model(name).eval(), find_model(name).input_shape
        flat = len(paper) == 4
        sizes = [(1, paper[1], *(size[1:] if flat else size)) for size in SIZES]
        sizes.append(tuple(paper))
    else:
        model = lean3d.convert(build(kind, name), lean3d.ACS(), accept="planar").eval()
        sizes = [(1, 3, *size) for size in SIZES]
    for size in sizes:
        try:
            with torch.no_grad():
                model(x := torch.randn(size))
        except (RuntimeError, ValueError, TypeError):
            continue
        return model, x
    raise RuntimeError(f"{name} runs on none of {sizes}")


@torch.no_grad()
def measure(kind: str, name: str, rounds: int) -> dict:
    model, x = network(kind, name)
    with patch.object(latency.time, "perf_counter", time.process_time):
        fast = lean3d.optimize(model, x, backends=BACKENDS, budget_s=600)
        calls = {"eager": partial(model, x), "optimize": partial(fast, x)}
        times = interleaved(calls, rounds)
    ms = {key: 1e3 * sorted(own)[len(own) // 2] for key, own in times.items()}
    return {
        "kind": kind,
        "network": name,
        "input": "x".join(map(str, x.shape)),
        "backend": fast.backend,
        "eager ms": round(ms["eager"], 2),
        "ms": round(ms["optimize"], 2),
        "ratio": round(ratios(times, "eager")["optimize"], 3),
        "processor": hardware().partition(",")[0],
    }


def rows_of(path: Path) -> list[dict]:
    return list(csv.DictReader(path.open())) if path.exists() else []


def summary(rows: list[dict]) -> Iterator[str]:
    for kind in dict.fromkeys(row["kind"] for row in rows):
        own = sorted(float(row["ratio"]) for row in rows if row["kind"] == kind)
        slower = sum(ratio > 1 + NOISE for ratio in own)
        yield f"| {kind} | {len(own)} | {own[len(own) // 2]:.2f} | {own[-1]:.2f} | {slower} |"


def write(path: Path, rows: list[dict], rounds: int) -> None:
    text = [
        "# never_slower",
        "",
        "`lean3d.optimize` by torch alone against the network as it is; converted ones by ACS.",
        "",
        f"One thread, time of the processor, medians of {rounds} interleaved rounds, float32; "
        f"torch {torch.__version__}; {datetime.date.today()}.",
        "`python benchmarks/never_slower.py`",
        "",
        f"| kind | networks | median ratio | largest | above {1 + NOISE:.2f} |",
        "|---|---|---|---|---|",
        *summary(rows),
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|" + "---|" * len(COLUMNS),
        *(f"| {' | '.join(row[key] for key in COLUMNS)} |" for row in rows),
        "",
    ]
    write_text(path.with_suffix(".md"), "\n".join(text))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", nargs="+", choices=["registry", "timm", "torchvision", "smp"])
    parser.add_argument("--again", type=float, help="run rows above this ratio anew")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    path = HERE / f"never_slower_{datetime.date.today():%Y-%m}.csv"
    for kind, names in jobs().items():
        if arguments.only and kind not in arguments.only:
            continue
        for name in names:
            rows = rows_of(path)
            kept = [row for row in rows if (row["kind"], row["network"]) != (kind, name)]
            known = [row for row in rows if row not in kept]
            again = arguments.again is not None
            if known and not (again and float(known[0]["ratio"]) > arguments.again):
                continue
            row = measure(kind, name, arguments.rounds)
            print(*row.values(), flush=True)
            lines = [",".join(COLUMNS)]
            lines += [",".join(str(one[key]) for key in COLUMNS) for one in [*kept, row]]
            write_text(path, "\n".join(lines) + "\n")
            gc.collect()
    write(path, rows_of(path), arguments.rounds)


if __name__ == "__main__":
    main()
