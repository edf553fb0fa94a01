"""lean3d optimize MODEL --input 1,3,8,224,224"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from lean3d.cli.fits import check_fits
from lean3d.cli.model import NetworkFlags
from lean3d.cli.parse import parse
from lean3d.cli.show import show_json, width
from lean3d.errors import RunError
from lean3d.files import check_outputs, write_text
from lean3d.report import json_line
from lean3d.runtime import optimize

__all__ = ["main"]


@dataclass(frozen=True)
class Optimize:
    """Measure every way to run a network here, and name the fastest that gives its output.

    Attributes:
        input: Sizes with commas, batch and channels first; the input of its paper by default.
        conv: Operator of a 3D model of lean3d, by name; the model's own by default.
        precision: What convolutions are computed in.
        backends: The ways to measure, by name; all that are installed by default.
        budget_s: Seconds after which no further way is prepared.
        choices: A file of choices, made if it is missing: what was chosen before for such a network
            and input on this machine is built alone.
        json: Where to write all of it; it is the last line printed, too.
    """

    network: NetworkFlags
    input: str | None = None
    conv: str | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    backends: tuple[str, ...] = ()
    budget_s: float = 60.0
    choices: Path | None = None
    json: Path | None = None


def main(argv: list[str]) -> None:
    asked = parse(Optimize, "optimize", argv)
    if not asked.budget_s > 0:
        raise RunError(f"--budget-s is seconds above 0, got {asked.budget_s}")
    check_outputs({"--json": asked.json, "--choices": asked.choices})
    sizes = asked.network.sizes(asked.input)
    channels = sizes[1] if len(sizes) > 1 else None
    model = asked.network.build(in_channels=channels, conv=asked.conv).eval()
    check_fits(model, sizes, training=False)
    options: dict[str, Any] = dict(precision=asked.precision, budget_s=asked.budget_s)
    options |= dict(choices=asked.choices)
    fast = optimize(model, torch.randn(sizes), backends=asked.backends or None, **options)
    record = {
        "model": asked.network.model,
        "input": list(sizes),
        "threads": torch.get_num_threads(),
        "precision": asked.precision,
        "backend": fast.backend,
        "candidates": fast.rows(),
    }
    if asked.json is not None:
        write_text(asked.json, json_line(record) + "\n")
    print(fast.report(width()))
    shape = "x".join(map(str, sizes))
    print(f"fastest: {fast.backend}, input {shape}, {record['threads']} threads")
    show_json(record)
