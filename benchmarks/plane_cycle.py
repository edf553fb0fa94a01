"""Time cycling planes against Planar and against slices; write results/plane_cycle.md.

    python benchmarks/plane_cycle.py [--rounds 3] [--side 64]

One run of each network in turn, without gradients, on one thread. What counts are seconds of CPU,
so that other processes on the machine do not; the median of the rounds.
"""

import argparse
import datetime
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from run import hardware
from torch import Tensor
from zoo import timm

from lean3d import Planar, PlaneCycle, convert
from lean3d.files import write_text

RESULTS = Path(__file__).parent / "results"
Run = Callable[[Tensor], object]


def resnets() -> dict[str, Run]:
    """Networks of which the last is what the others are compared with."""
    flat = timm.create_model("resnet18").eval()
    hows = PlaneCycle(), PlaneCycle(cycle="layer"), Planar()
    names = "PlaneCycle()", 'PlaneCycle(cycle="layer")', "Planar()"
    networks = [convert(flat, how, accept="unchecked") for how in hows]
    return {f"ResNet-18, {name}": deep for name, deep in zip(names, networks, strict=True)}


def transformers(side: int) -> dict[str, Run]:
    """The same of a ViT with patches of 8 pixels."""
    flat = timm.create_model("vit_small_patch8_224", img_size=side).eval()
    deep = convert(flat, PlaneCycle(keep_depth=None), accept="unchecked")
    return {
        "ViT-S/8, PlaneCycle(keep_depth=None)": deep,
        "ViT-S/8, 2D, a loop over slices": lambda x: [flat(one) for one in x.unbind(2)],
        "ViT-S/8, 2D, slices as one batch": lambda x: flat(x[0].transpose(0, 1)),
    }


def seconds(run: Run, x: Tensor) -> float:
    start = time.process_time()
    run(x)
    return time.process_time() - start


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=64)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = torch.randn(1, 3, given.side, given.side, given.side)
    lines = [f"# plane_cycle\n\n{__doc__}"]
    lines.append(
        f"{hardware()}; torch {torch.__version__}; {datetime.date.today()}; a volume of "
        f"{given.side} voxels cubed.\n"
    )
    lines += ["| network | CPU ms | relative |", "|---|---:|---:|"]
    for runs in (resnets(), transformers(given.side)):
        for run in runs.values():
            run(x)
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(given.rounds):
            for name, run in runs.items():
                times[name].append(seconds(run, x))
        middle = {name: statistics.median(each) for name, each in times.items()}
        base = list(middle.values())[-1]
        lines += [f"| {name} | {1e3 * t:.0f} | {t / base:.2f} |" for name, t in middle.items()]
    text = "\n".join(lines) + "\n"
    write_text(RESULTS / "plane_cycle.md", text)
    print(text)


if __name__ == "__main__":
    main()
