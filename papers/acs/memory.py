"""ACS trains in no more memory than 3D: `python -m papers.acs.memory`, three minutes on one core.

Paper: Yang et al., Reinventing 2D Convolutions for 3D Images, arXiv:1911.10477, Table 6, where ACS
needs 6.6 GB and 3D 5.0. Counted are the parameters and whatever torch allocates for a training
step, its gradients too: what a GPU would have to hold, whatever its kernels use beside. On a CPU
the libraries' scratch space comes on top; `papers.acs.costs` has it.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from lean3d.cost.latency import training_step
from lean3d.files import write_text
from lean3d.networks.acs_paper import acs_network
from papers.acs.costs import PAPER, saved_mib
from papers.acs.shape_unet import solid_unet
from papers.command import publish, small
from papers.results import where
from papers.text import measured_by, table
from papers.torchvision import torchvision

__all__ = ["FORMS", "NETWORKS", "allocated_mib", "main", "measure", "section"]

HERE = Path(__file__).parent
FORMS = ("3D", "ACS", "2.5D")
# name: input, and the network of a form; Tables 6 and 3
NETWORKS: dict[str, tuple[tuple[int, ...], Callable[[str], nn.Module]]] = {
    "FCN ResNet-18": (
        (2, 3, 24, 24, 24),
        lambda form: acs_network("fcn_resnet18", form.lower(), accept="unchecked"),
    ),
    "U-Net": ((4, 1, 48, 48, 48), lambda form: solid_unet(form, (64, 128), 0)),
}
TINY = 12


def measure(build: Callable[[str], nn.Module], shape: tuple[int, ...]) -> list[dict[str, Any]]:
    """The memory of a training step of each form."""
    rows = []
    for form in FORMS:
        torch.manual_seed(0)
        model, x = build(form).train(), torch.randn(shape)
        own = sum(p.numel() * p.element_size() for p in model.parameters()) / 2**20
        rows.append(
            {
                "form": form,
                "parameters": round(own, 1),
                "kept": round(saved_mib(model, x), 1),
                "peak": round(own + allocated_mib(training_step(model, x)), 1),
            }
        )
    return rows


def allocated_mib(step: Callable[[], object]) -> float:
    """The most that torch has allocated at a time on the CPU during a call."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        step()
    found: Any = seen.profiler
    changes = [e for e in found.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for change in sorted(changes, key=lambda e: e.start_ns()):
        now += change.nbytes()
        most = max(most, now)
    return most / 2**20


def section(found: dict[str, Any]) -> str:
    """The table of README."""
    shown = []
    for network in found["networks"]:
        rows = {row["form"]: row for row in network["rows"]}
        for form, row in rows.items():
            paper = PAPER[form][1] / PAPER["3D"][1]
            shown.append(
                {
                    "network": f"{network['name']}, {' x '.join(map(str, network['shape']))}",
                    "form": form,
                    "parameters (MiB)": row["parameters"],
                    "kept for backward (MiB)": row["kept"],
                    "peak (MiB)": row["peak"],
                    "peak to 3D": f"{row['peak'] / rows['3D']['peak']:.2f}x",
                    "paper": f"{paper:.2f}x" if network["name"].startswith("FCN") else "",
                }
            )
    entry = {"name": "", "seed": 0, "where": found["where"]}
    return "\n\n".join([table(shown), measured_by([entry])])


def main(argv: list[str] | None = None) -> None:
    asked = small("papers.acs.memory", str(__doc__)).parse_args(argv)
    torchvision()
    networks = []
    for name, (size, build) in NETWORKS.items():
        shape = (*size[:2], *(TINY,) * 3) if asked.tiny else size
        networks.append({"name": name, "shape": shape, "rows": measure(build, shape)})
    path = (asked.tiny or HERE) / "memory.json"
    write_text(path, json.dumps({"networks": networks, "where": where()}, indent=1) + "\n")
    publish(HERE, "memory", section(json.loads(path.read_text())), asked.tiny)


if __name__ == "__main__":
    main()
