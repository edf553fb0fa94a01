"""Claim 4, what ACS costs: `python -m papers.acs.costs`, a quarter of an hour on one core.

Paper: Yang et al., Reinventing 2D Convolutions for 3D Images, arXiv:1911.10477, Tables 2, 6, A1
One FCN ResNet-18 in five forms, timed side by side, a step of each in turn. The paper's crops have
48 voxels a side and need 5 GB and more; those here have 24.
"""

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.conversion import MeanACS, SoftACS, convert
from lean3d.cost import count
from lean3d.cost.latency import interleaved, ratios, training_step
from lean3d.cost.peak import PeakMemory
from lean3d.files import write_text
from lean3d.networks.acs_paper import acs_network, flat_network
from lean3d.report.drawing import color, new_figure, plain_axes, save_figure
from lean3d.train.provenance import provenance
from papers.command import publish, small
from papers.text import table
from papers.torchvision import torchvision

__all__ = ["NETWORKS", "draw", "main", "measure", "saved_mib", "section"]

HERE = Path(__file__).parent
NAME = "fcn_resnet18"
SHAPE, ROUNDS = (2, 3, 24, 24, 24), 5
TINY = (2, 3, 9, 9, 9), 1
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "ACS": lambda: acs_network(NAME, "acs", accept="unchecked"),
    "Mean-ACS": lambda: convert(flat_network(NAME), MeanACS(), accept="unchecked"),
    "Soft-ACS": lambda: convert(flat_network(NAME), SoftACS(), accept="unchecked"),
    "3D": lambda: acs_network(NAME, "3d", accept="unchecked"),
    # the last is what the others are compared with
    "2.5D": lambda: acs_network(NAME, "2.5d", accept="unchecked"),
}
# Tables 6 and A1: seconds and GB of a training step on a Titan Xp
PAPER = {
    "2.5D": (0.57, 5.0),
    "ACS": (0.95, 6.6),
    "Mean-ACS": (1.49, 7.8),
    "Soft-ACS": (1.58, 9.9),
    "3D": (1.01, 5.0),
}


def measure(
    networks: dict[str, Callable[[], nn.Module]], shape: tuple[int, ...], rounds: int
) -> dict[str, Any]:
    """Time and memory of a training step of every network, and what each is made of."""
    torch.manual_seed(0)
    x = torch.randn(shape)
    models = {name: build() for name, build in networks.items()}
    costs = {name: count(model, shape) for name, model in models.items()}
    steps = {name: training_step(model.train(), x) for name, model in models.items()}
    times = interleaved(steps, rounds)
    relative = ratios(times, list(models)[-1])
    rows = [
        {
            "form": name,
            "params": costs[name].params,
            "macs": costs[name].macs,
            "saved_mib": round(saved_mib(model, x), 1),
            "peak_mib": peak_mib(steps[name]),
            "ms": round(1e3 * statistics.median(times[name]), 1),
            "time ratio": round(relative[name], 3),
        }
        for name, model in models.items()
    ]
    return {"shape": shape, "rounds": rounds, "rows": rows, "where": provenance()}


def peak_mib(step: Callable[[], object]) -> float:
    """The most that a step holds beside the models and the input."""
    memory = PeakMemory(torch.device("cpu"))
    step()
    return memory.mib()


def saved_mib(model: nn.Module, x: Tensor) -> float:
    """What the forward pass keeps for the backward, each storage once, weights and input aside."""
    known = {t.untyped_storage().data_ptr() for t in [x, *model.parameters(), *model.buffers()]}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        pointer = tensor.untyped_storage().data_ptr()
        if pointer not in known:
            # held, so that no later storage gets the same address
            kept[pointer] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.train()(x)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) / 2**20


def section(found: dict[str, Any]) -> str:
    """The table of README: the paper's ratios to 2.5D beside ours."""
    rows = {row["form"]: row for row in found["rows"]}
    base, (base_seconds, base_gb) = rows["2.5D"], PAPER["2.5D"]
    shown = []
    for name, (seconds, gigabytes) in PAPER.items():
        row = rows[name]
        shown.append(
            {
                "form": name,
                "parameters": f"{row['params']:,}",
                "GMACs": f"{row['macs'] / 1e9:.1f}",
                "kept for backward (MiB)": f"{row['saved_mib']:.0f}",
                "peak (MiB)": f"{row['peak_mib']:.0f}",
                "peak to 2.5D": f"{row['peak_mib'] / base['peak_mib']:.2f}x",
                "paper": f"{gigabytes / base_gb:.2f}x",
                "step (ms)": f"{row['ms']:.0f}",
                "time to 2.5D": f"{row['time ratio']:.2f}x",
                "paper ": f"{seconds / base_seconds:.2f}x",
            }
        )
    where = found["where"]
    size = " x ".join(map(str, found["shape"]))
    return "\n\n".join(
        [
            table(shown),
            f"Training steps on {size}, interleaved, medians of {found['rounds']} rounds. "
            f"{where['hardware']}, {where['threads']} thread(s), torch {where['torch']}, commit "
            f"{where['commit']}, {where['date'][:10]}. The paper: a Titan Xp, batch 2.",
        ]
    )


def draw(found: dict[str, Any], path: Path) -> None:
    """Time and peak memory of each form by those of 2.5D, ours as bars, the paper's as lines."""
    rows = {row["form"]: row for row in found["rows"]}
    base = rows["2.5D"]
    figure = new_figure(9, 3.4)
    figure.set_layout_engine("constrained")
    panels = figure.subplots(1, 2)
    ratios = {
        "time of a training step, by 2.5D": {n: rows[n]["time ratio"] for n in PAPER},
        "peak memory, by 2.5D": {n: rows[n]["peak_mib"] / base["peak_mib"] for n in PAPER},
    }
    for column, (axes, (title, ours)) in enumerate(zip(panels, ratios.items(), strict=True)):
        for index, (name, ratio) in enumerate(ours.items()):
            printed = PAPER[name][column] / PAPER["2.5D"][column]
            label = "paper, Titan Xp" if not index else None
            axes.bar(index, ratio, color=color(index), width=0.6, alpha=0.8)
            axes.hlines(printed, index - 0.4, index + 0.4, color="#222222", lw=1.5, label=label)
        plain_axes(axes, "", title)
        axes.set_xticks(range(len(ours)), list(ours))
        axes.legend(frameon=False, loc="upper left")
    save_figure(figure, path)


def main(argv: list[str] | None = None) -> None:
    asked = small("papers.acs.costs", str(__doc__)).parse_args(argv)
    torchvision()
    home = asked.tiny or HERE
    found = measure(NETWORKS, *(TINY if asked.tiny else (SHAPE, ROUNDS)))
    write_text(home / "costs.json", json.dumps(found, indent=1) + "\n")
    draw(found, home / "costs")
    publish(home, "costs", section(found), asked.tiny)


if __name__ == "__main__":
    main()
