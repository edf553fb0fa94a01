"""Time cycling planes against Planar and against slices; write results/plane_cycle_<machine>.md.

    python benchmarks/plane_cycle.py [--rounds 5] [--device cuda]

Each row is timed beside what it is compared with, one run of each in turn, without gradients.
"""

import argparse
import datetime
from collections.abc import Callable
from pathlib import Path

import torch
from run import hardware
from torch import Tensor, nn
from zoo import timm

import lean3d
from lean3d import Planar, PlaneCycle, convert
from lean3d.cost.latency import interleaved, ratios

RESULTS = Path(__file__).parent / "results"
VIT, PATCH = "vit_small_patch8_224", 8


def alternatives(side: int) -> dict[str, Callable[[Tensor], object]]:
    """Networks on one volume: of each group the last is what the others are compared with."""
    torch.manual_seed(0)
    resnet = timm.create_model("resnet18").eval()
    vit = timm.create_model(VIT, img_size=side).eval()
    kept = PlaneCycle(keep_depth=None)
    return {
        "ResNet-18, PlaneCycle()": convert(resnet, PlaneCycle(), accept="unchecked"),
        "ResNet-18, PlaneCycle(cycle='layer')": convert(
            resnet, PlaneCycle(cycle="layer"), accept="unchecked"
        ),
        "ResNet-18, Planar()": convert(resnet, Planar(), accept="unchecked"),
        "ViT-S/8, PlaneCycle(keep_depth=None)": convert(vit, kept, accept="unchecked"),
        "ViT-S/8, a loop over slices": lambda x: [vit(one) for one in x.unbind(2)],
        "ViT-S/8, the 2D network on all slices": lambda x: vit(x[0].transpose(0, 1)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    x = torch.randn(1, 3, given.side, given.side, given.side, device=given.device)
    every = alternatives(given.side)
    lines = [f"# plane_cycle\n\n{__doc__}", f"{hardware()}, torch {torch.__version__}, "]
    lines[-1] += (
        f"lean3d {lean3d.__version__}, {datetime.date.today()}; a volume of {given.side}^3.\n"
    )
    lines += ["| network | ms | relative |", "|---|---:|---:|"]
    for group in ("ResNet-18", "ViT-S/8"):
        runs = {name: run for name, run in every.items() if name.startswith(group)}
        for run in runs.values():
            if isinstance(run, nn.Module):
                run.to(given.device)
        with torch.no_grad():
            steps = {name: (lambda run=run: run(x)) for name, run in runs.items()}
            times = interleaved(steps, given.rounds)
        relative = ratios(times, list(runs)[-1])
        for name in runs:
            middle = sorted(times[name])[len(times[name]) // 2]
            lines.append(f"| {name} | {1e3 * middle:.0f} | {relative[name]:.2f} |")
    text = "\n".join(lines) + "\n"
    print(text)
    month = f"{datetime.date.today():%Y-%m}"
    (RESULTS / f"plane_cycle_{given.device}_{month}.md").write_text(text)


if __name__ == "__main__":
    main()
