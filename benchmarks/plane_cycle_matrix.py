"""Convert 2D networks by cycling planes; write results/plane_cycle_matrix.md and .csv, and README.

    python benchmarks/plane_cycle_matrix.py [--zoo values smp torchvision timm-meta] [--only NAMES]

- values: the smallest timm network of each family named in the documentation, by value;
- smp: decoders with three encoders, SegFormer and DPT with their own, by value;
- torchvision: every classification network, by size, without memory;
- timm-meta: every network of timm, by size, without memory.

A network a process, with a limit on its memory and its seconds of CPU. Every row is written as soon
as it is known, and what the table holds is not run again; `--again refused` runs those rows anew.
How many convert of how many, and what is refused, is written to README and docs/plane_cycle.md.
"""

import argparse
import csv
import datetime
import fnmatch
import multiprocessing
import resource
import signal
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from convert_matrix import ROOTS, words
from zoo import smp, timm, torchvision

import lean3d
from lean3d import PlaneCycle
from lean3d.files import write_between

HOME = Path(__file__).parents[1]
RESULTS = HOME / "benchmarks" / "results"
TITLES = {
    "values": "timm, the smallest of each attention family, by value",
    "timm-meta": "timm, by size",
    "torchvision": "torchvision, by size",
    "smp": "segmentation_models_pytorch, by value",
}
FIELDS = "zoo", "model", "result", "blocks", "largest_error", "seconds", "reason"
VALUES = words("""
    vit_tiny_patch16_224 deit_tiny_distilled_patch16_224 vit_small_patch14_dinov2
    vit_small_patch14_reg4_dinov2 vit_small_patch16_dinov3 eva02_tiny_patch14_224
    swin_tiny_patch4_window7_224 swinv2_cr_tiny_ns_224 maxvit_rmlp_pico_rw_256 caformer_s18
    fastvit_ma36 mobilenetv4_hybrid_medium convnext_atto resnet10t test_vit test_vit2 test_vit3
""")
MORE = ["Segformer mit_b0", "DPT tu-vit_tiny_patch16_224"]
DECODERS = words("""
    Unet UnetPlusPlus MAnet Linknet FPN PSPNet DeepLabV3 DeepLabV3Plus PAN UPerNet
""")
ENCODERS = ["resnet18", "efficientnet-b0", "mobilenet_v2"]


def names(zoo: str) -> list[str]:
    if zoo == "values":
        return VALUES
    if zoo == "smp":
        return [*MORE, *(f"{decoder} {encoder}" for decoder in DECODERS for encoder in ENCODERS)]
    if zoo == "torchvision":
        return torchvision.models.list_models(module=torchvision.models)
    return timm.list_models()


def first_of_each_module(models: list[str]) -> list[str]:
    """Return the first model of each file of timm's, of those in a list."""
    firsts = [timm.list_models(module=module) for module in timm.list_modules()]
    lists = [[name for name in models if name in of] for of in firsts]
    return [of[0] for of in lists if of]


def build(zoo: str, name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    if zoo == "smp":
        decoder, encoder = name.split()
        more = {"dynamic_img_size": True} if decoder == "DPT" else {}
        return getattr(smp, decoder)(encoder, encoder_weights=None, classes=3, **more)
    make = torchvision.models.get_model if zoo == "torchvision" else timm.create_model
    return make(name)


def build_by_size(zoo: str, name: str) -> torch.nn.Module:
    """Return a network whose weights take no memory."""
    try:
        with torch.device("meta"):
            return build(zoo, name)
    except NotImplementedError:  # its widths are worked out with tensors
        return build(zoo, name).to("meta")


def attempt(zoo: str, name: str, gigabytes: int, limit: int, answer: Any) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_DATA, (gigabytes << 30, gigabytes << 30))
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
    start, blocks, error = time.perf_counter(), 0, ""
    by_size = zoo in ("timm-meta", "torchvision")
    try:
        model = (build_by_size if by_size else build)(zoo, name)
        record: Any = lean3d.convert(model, PlaneCycle()).conversion
        errors = [check.error for check in record.checks if check.error is not None]
        blocks = sum(" on " in row.after and "slices" not in row.after for row in record.rows)
        result, reason = "sizes" if by_size else record.grade, record.note
        error = f"{max(errors):.0e}" if errors else ""
    except Exception as problem:  # the table says what went wrong, whatever it was
        kind = "" if isinstance(problem, lean3d.ConversionError) else f"{type(problem).__name__}: "
        result, reason = "refused", kind + " ".join(str(problem).split())
        for root in ROOTS:
            reason = reason.replace(root, "")
    answer.send((zoo, name, result, blocks, error, f"{time.perf_counter() - start:.1f}", reason))


def run(zoo: str, name: str, gigabytes: int, limit: int) -> dict[str, Any]:
    """Return the row of one network, from a process of its own."""
    fresh = multiprocessing.get_context("fork")
    mine, theirs = fresh.Pipe(duplex=False)
    process = fresh.Process(target=attempt, args=(zoo, name, gigabytes, limit, theirs))
    process.start()
    theirs.close()
    try:
        row = mine.recv()
    except EOFError:
        process.join()
        late = process.exitcode in (-signal.SIGXCPU, -signal.SIGKILL)
        why = (
            f"stopped after {limit} s of CPU, or for memory"
            if late
            else f"ended by {process.exitcode}"
        )
        row = (zoo, name, "not run", 0, "", "", why)
    process.join()
    return dict(zip(FIELDS, map(str, row), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    zoos = ["values", "smp", "torchvision", "timm-meta"]
    parser.add_argument("--zoo", nargs="+", default=zoos, choices=zoos)
    parser.add_argument("--only", default="*", help="a pattern for the models' names")
    parser.add_argument("--again", nargs="*", default=[], help="results whose rows are run anew")
    parser.add_argument("--gigabytes", type=int, default=6)
    parser.add_argument("--limit", type=int, default=180, help="seconds of CPU for one model")
    parser.add_argument("--every", type=int, default=1, help="one in so many of each list")
    parser.add_argument("--modules", action="store_true", help="one of each of timm's modules")
    parser.add_argument("--table", type=Path, default=RESULTS / "plane_cycle_matrix.csv")
    given = parser.parse_args()
    done: dict[tuple[str, str], dict[str, str]] = {}
    if given.table.exists():
        with given.table.open(newline="") as file:
            done = {(row["zoo"], row["model"]): row for row in csv.DictReader(file)}
    for zoo in given.zoo:
        chosen = [name for name in names(zoo) if fnmatch.fnmatch(name, given.only)]
        chosen = first_of_each_module(chosen) if given.modules else chosen[:: given.every]
        for name in chosen:
            if (zoo, name) in done and done[zoo, name]["result"] not in given.again:
                continue
            done[zoo, name] = row = run(zoo, name, given.gigabytes, given.limit)
            print(*row.values(), flush=True)
            write(given.table, list(done.values()))
    rows = [done[key] for key in sorted(done)]
    write(given.table, rows)
    if given.table.parent == RESULTS:
        write_between(HOME / "README.md", "plane cycle", sentence(rows))
        write_between(HOME / "docs" / "plane_cycle.md", "totals", totals(rows))


def tried(rows: list[dict[str, str]], zoo: str) -> tuple[int, int, int]:
    """Return how many networks convert, of how many that were tried, of how many there are."""
    of = [row for row in rows if row["zoo"] == zoo]
    converted = sum(row["result"] in ("cycled", "sizes") for row in of)
    return converted, len(of), len(names(zoo))


def sentence(rows: list[dict[str, str]]) -> str:
    """Return what README says."""
    parts = []
    for zoo, title in TITLES.items():
        converted, count, whole = tried(rows, zoo)
        left = f" tried, of {whole:,}" if count < whole else ""
        parts.append(f"{converted:,} of {count:,}{left} ({title})")
    refused = [row["model"] for row in rows if row["result"] not in ("cycled", "sizes")]
    reasons = "docs/plane_cycle.md#what-converts"
    return (
        f"Networks that convert by `PlaneCycle()`: {'; '.join(parts)}. Not converted: "
        f"{', '.join(refused) or 'none'} ([why]({reasons}))."
    )


def totals(rows: list[dict[str, str]]) -> str:
    """Return the tables of the page: how many convert, and why others do not."""
    lines = ["| zoo | convert | tried | there are |", "|---|---:|---:|---:|"]
    for zoo, title in TITLES.items():
        lines.append("| " + " | ".join((title, *(f"{n:,}" for n in tried(rows, zoo)))) + " |")
    lines += ["", "| not converted | why |", "|---|---|"]
    for row in rows:
        if row["result"] not in ("cycled", "sizes"):
            lines.append(f"| {row['model']} | {shown(row['reason'])} |")
    return "\n".join(lines)


def shown(reason: str) -> str:
    return "`" + reason.replace("|", "/").replace("`", "'")[:300] + "`"


def write(table: Path, rows: list[dict[str, str]]) -> None:
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    versions = ", ".join(f"{m.__name__} {m.__version__}" for m in (torch, torchvision, timm, smp))
    lines = [f"# plane_cycle_matrix\n\n{__doc__}\n{versions}; {datetime.date.today()}.\n"]
    lines += ["| zoo | result | models |", "|---|---|---:|"]
    for key, count in sorted(Counter((row["zoo"], row["result"]) for row in rows).items()):
        lines.append(f"| {' | '.join(key)} | {count} |")
    lines += ["\n| zoo | model | result | blocks | reason |", "|---|---|---|---:|---|"]
    for row in rows:
        if row["zoo"] != "timm-meta" or row["result"] != "sizes":
            reason = row["reason"].replace("|", "/")[:300]
            shown = row["zoo"], row["model"], row["result"], row["blocks"], reason
            lines.append(f"| {' | '.join(shown)} |")
    table.with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
