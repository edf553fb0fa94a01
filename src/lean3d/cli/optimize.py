"""lean3d optimize MODEL --input 1,3,8,224,224"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from lean3d.cli.calibration import SAMPLES, calibration_of
from lean3d.cli.device import find_device
from lean3d.cli.fits import check_fits
from lean3d.cli.model import NetworkFlags
from lean3d.cli.parse import parse
from lean3d.cli.show import show_json, width
from lean3d.errors import RunError
from lean3d.files import check_outputs, write_text
from lean3d.report import json_line
from lean3d.runtime import optimize
from lean3d.streaming import stream

__all__ = ["main"]

# of the clips on which a stream is checked
FRAMES = 16


@dataclass(frozen=True)
class Optimize:
    """Measure every way to run a network here; name the fastest that is equal.

    Attributes:
        input: Sizes with commas, batch and channels first; the input of its paper by default.
            With --stream a frame: batch, channels, height, width.
        conv: Operator of a 3D model of lean3d, by name; the model's own by default.
        precision: What convolutions are computed in. int8 is calibrated on training samples of a
            run; without one on noise, which shows the time but not the error.
        data: Of int8: data to calibrate on in place of the run's, of the same kind.
        samples: Of int8: inputs to calibrate on.
        backends: The ways to measure, by name; all that are installed by default.
        stream: Measure a step of its stream, frame by frame.
        wait: Stream a non-causal network unchanged, with delayed outputs.
        device: Where to compute, such as cuda; a GPU if there is one by default.
        budget_s: Seconds after which no further way is prepared.
        choices: A file of choices, made if it is missing: what was chosen before for such a network
            and input on this machine is built alone.
        json: Where to write all of it; it is the last line printed, too.
    """

    network: NetworkFlags
    input: str | None = None
    conv: str | None = None
    precision: Literal["float32", "bfloat16", "int8"] = "float32"
    data: str | None = None
    samples: int = SAMPLES
    backends: tuple[str, ...] | None = None
    stream: bool = False
    wait: bool = False
    device: str | None = None
    budget_s: float = 60.0
    choices: Path | None = None
    json: Path | None = None


def main(argv: list[str]) -> None:
    asked = parse(Optimize, "optimize", argv)
    if not asked.budget_s > 0:
        raise RunError(f"--budget-s is seconds above 0, got {asked.budget_s}")
    check_outputs({"--json": asked.json, "--choices": asked.choices})
    if asked.samples < 1:
        raise RunError(f"--samples is 1 or more, got {asked.samples}")
    if asked.data is not None and (asked.precision != "int8" or asked.network.run is None):
        raise RunError("--data is for --precision int8 of a run; leave it out")
    if asked.wait and not asked.stream:
        raise RunError("--wait is for --stream")
    device, sizes = find_device(asked.device), asked.network.sizes(asked.input)
    if asked.stream and asked.input is None:
        sizes = (*sizes[:2], *sizes[-2:])  # a frame of the clip
    channels = sizes[1] if len(sizes) > 1 else None
    model = asked.network.build(in_channels=channels, conv=asked.conv).eval()
    if asked.stream:
        if len(sizes) != 4:
            raise RunError(f"--input of a stream is a frame, such as 1,3,112,112, got {sizes}")
        check_fits(model, (*sizes[:2], FRAMES, *sizes[2:]), training=False)
        model = stream(model.to(device), wait=asked.wait, frame=(sizes[1], *sizes[2:]))
    else:
        check_fits(model, sizes, training=False)
    options: dict[str, Any] = dict(precision=asked.precision, budget_s=asked.budget_s)
    options |= dict(choices=asked.choices)
    x = torch.randn(sizes, device=device)
    if asked.precision == "int8":
        given: Any = dict(samples=asked.samples, data=asked.data, clips=asked.stream)
        found = [part.to(device) for part in calibration_of(asked.network, sizes, **given)]
        options["calibration"] = found
        x = (found[0][:, :, 0] if asked.stream else found[0]).expand_as(x).clone()
    fast = optimize(model.to(device), x, backends=asked.backends, **options)
    record = {
        "model": asked.network.model,
        "input": list(sizes),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "precision": asked.precision,
        "backend": fast.backend,
        "candidates": fast.rows(),
    }
    if asked.json is not None:
        write_text(asked.json, json_line(record) + "\n")
    print(fast.report(width()))
    shape = "x".join(map(str, sizes))
    where = f"{record['threads']} threads" if device.type == "cpu" else str(device)
    print(f"fastest: {fast.backend}, input {shape}, {where}")
    if asked.precision == "int8":
        what = "samples of the run's data"
        if asked.network.run is None:
            what = "inputs of noise, so that its times hold and its errors do not"
        print(f"int8: calibrated on {len(options['calibration'])} {what}")
    show_json(record)
