"""Whether torchvision's video networks, made lighter, take the time that was asked for.

    python benchmarks/lighten_speed.py [--clip 3 8 112 112] [--cuts channels time] [--write FILE.md]

r3d_18 and r2plus1d_18 with random weights, for a half and a quarter of their time. The lighter
networks are timed again beside the first one, by the fastest backend, apart from what `lighten`
measured. One thread, whose own processor time counts. Needs the zoo (torchvision in .venv/zoo).
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
import zoo  # noqa: F401  puts torchvision on the path
from torch import nn

import lean3d
from lean3d.files import write_text
from lean3d.lightening import CUTS
from lean3d.lightening.clock import Clock, in_turns
from lean3d.lightening.times import Times
from lean3d.optional import require
from lean3d.report.table import format_table
from lean3d.train.provenance import provenance

NETWORKS, TARGETS = ("r3d_18", "r2plus1d_18"), (0.5, 0.25)
ROUNDS = 11


def row(name: str, model: nn.Module, x: torch.Tensor, share: float, asked: Any) -> dict[str, Any]:
    began = time.process_time()
    more = dict(cuts=asked.cuts, backends=["onednn"], budget_s=asked.budget)
    light = lean3d.lighten(model, x, time=share, data=x, **more)
    took = time.process_time() - began
    clock = Clock("onednn", "float32", x.device, Times(None), 600.0)
    calls = {n: (clock.runner(m, (x,)), (x,)) for n, m in (("", model), ("light", light))}
    times = in_turns(calls, ROUNDS)
    pairs = zip(times["light"], times[""], strict=True)
    measured = statistics.median(a / b for a, b in pairs)
    record = light.lightening  # type: ignore[union-attr]
    found = {
        "network": name,
        "ms before": round(1e3 * statistics.median(times[""]), 1),
        "asked for": share,
        "predicted": round(record.predicted / record.before, 3),
        "measured": round(measured, 3),
        "off": f"{100 * (measured / share - 1):+.1f} %",
        "seconds": round(took),
    }
    print(found, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--clip", type=int, nargs=4, default=[3, 8, 112, 112])
    parser.add_argument("--cuts", nargs="*", default=list(CUTS), choices=list(CUTS))
    parser.add_argument("--budget", type=float, default=300.0, help="seconds to time forms in")
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    video = require("torchvision", extra="zoo").models.video
    rows = []
    for name in asked.networks:
        torch.manual_seed(0)
        model, x = getattr(video, name)().eval(), torch.randn(1, *asked.clip)
        rows += [row(name, model, x, share, asked) for share in TARGETS]
    if asked.write:
        where = provenance()
        lines = [
            "# torchvision's video networks at a half and at a quarter of their time",
            "",
            f"`benchmarks/lighten_speed.py`, random weights, a clip of "
            f"{' x '.join(map(str, asked.clip))}, cuts {', '.join(asked.cuts)}, onednn, float32; "
            f"{where['hardware']}, 1 thread, torch {where['torch']}, commit {where['commit']}, "
            f"{where['date'][:10]}.",
            "",
            "```text",
            format_table(rows),
            "```",
        ]
        write_text(asked.write, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
