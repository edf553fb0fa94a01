"""lean3d export RUN --out NETWORK.onnx"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from lean3d.cli.calibration import calibration_of
from lean3d.cli.fits import check_fits
from lean3d.cli.live_model import LiveFlags, load_live
from lean3d.cli.parse import parse
from lean3d.cli.show import show_json, width
from lean3d.errors import RunError
from lean3d.files import check_outputs, write_whole
from lean3d.infer.export import export_network
from lean3d.runtime import optimize, save_optimized
from lean3d.streaming.export import SUFFIXES, compare_export, export_step

__all__ = ["main"]

STEPS, ALLOWED = 8, 1e-4
NAMES = "batch", "channels", "depth", "height", "width"


@dataclass(frozen=True)
class Export(LiveFlags):
    """Write a network, or the step of a stream, for other runtimes; check the file.

    Attributes:
        what: whole: the network on volumes, images or clips of any number and size; step: one step
            of a stream, the state as inputs and outputs. By default step for networks of video,
            whole for the others.
        input: Of a whole network: sizes with commas, batch and channels first, that the file must
            take; those of the run by default.
        out: Where to write: .onnx for ONNX, .pt2 for torch.export; with --optimized a new folder.
        optimized: Measure every way to run the whole network here, or with --what step a step, as
            lean3d optimize does, and write the fastest into a folder, which
            lean3d.runtime.load_optimized runs at once.
        precision: Of --optimized: what convolutions are computed in. int8 is calibrated on
            training samples of the run.
        backends: Of --optimized: the ways to measure, by name; all that are installed by default.
        budget_s: Of --optimized: seconds after which no further way is prepared.
    """

    what: Literal["whole", "step"] | None = None
    input: str | None = None
    out: Path | None = None
    optimized: bool = False
    precision: Literal["float32", "bfloat16", "int8"] = "float32"
    backends: tuple[str, ...] | None = None
    budget_s: float = 60.0


def main(argv: list[str]) -> None:
    asked = parse(Export, "export", argv)
    if asked.optimized:
        _export_optimized(asked)
        return
    for name in ("precision", "backends", "budget_s"):
        if getattr(asked, name) != getattr(Export, name):
            raise RunError(f"--{name.replace('_', '-')} is for --optimized; leave it out")
    whole = asked.what == "whole" or (asked.what is None and _is_whole(asked))
    out = asked.out or Path("network.onnx" if whole else "step.onnx")
    if out.suffix not in SUFFIXES:
        raise RunError(f"export writes {' and '.join(SUFFIXES)}, got --out {out}")
    check_outputs({"--out": out}, asked.read())
    if whole:
        _export_whole(asked, out)
    else:
        _export_step(asked, out)


def _export_optimized(asked: Export) -> None:
    if not asked.budget_s > 0:
        raise RunError(f"--budget-s is seconds above 0, got {asked.budget_s}")
    out = asked.out or Path("optimized")
    if out.exists():
        raise RunError(f"--out {out} exists; give the name of a new folder")
    check_outputs({"--out": out}, asked.read())
    options: dict[str, Any] = dict(precision=asked.precision, budget_s=asked.budget_s)
    step = asked.what == "step"
    model: nn.Module
    sizes: tuple[int, ...]
    if step:
        taken = load_live(asked, vectors=True)
        model = taken.live
        sizes = (1, taken.live.found.frame[0], taken.live.chunk, *taken.look.size)
    else:
        sizes = asked.sizes(asked.input)
        model = asked.build(in_channels=sizes[1]).eval()
        check_fits(model, sizes, training=False)
    x = torch.randn(sizes)
    if asked.precision == "int8":
        frame = (*sizes[:2], *sizes[3:]) if step else sizes
        found = calibration_of(asked, frame, clips=step)
        options["calibration"] = found
        x = (found[0][:, :, : sizes[2]] if step else found[0]).expand_as(x).clone()
    fast = optimize(model, x, backends=asked.backends, **options)
    save_optimized(fast, out)
    print(fast.report(width()))
    files = sorted(out.iterdir())
    print(f"{out}: {asked.model} by {fast.backend}, input {' x '.join(map(str, sizes))}")
    show_json(
        {
            "model": asked.model,
            "out": str(out),
            "files": {path.name: path.stat().st_size for path in files},
            "input": list(sizes),
            "precision": asked.precision,
            "backend": fast.backend,
            "candidates": fast.rows(),
        }
    )


def _is_whole(asked: Export) -> bool:
    """Whether a network is not one of clips that streams."""
    if asked.run is None:
        return ":" in asked.model and not asked.wait
    from lean3d.recipes.load import read_recipe

    return read_recipe(asked.run).sample != "clips"


def _export_whole(asked: Export, out: Path) -> None:
    from lean3d.recipes.load import read_record

    sizes = asked.sizes(asked.input)
    model = asked.build(in_channels=sizes[1])
    check_fits(model, sizes)
    notes = {} if asked.run is None else {"recipe.json": json.dumps(read_record(asked.run))}
    with write_whole(out) as temporary:
        exported = export_network(model, temporary, sizes, notes=notes, allowed=ALLOWED)
        size = temporary.stat().st_size
    names = NAMES if len(sizes) == 5 else (*NAMES[:2], *NAMES[3:])
    ends = {names[axis]: span for axis, span in exported.free.items()}
    free = ", ".join(f"{name} {low} to {high or 'any'}" for name, (low, high) in ends.items())
    print(f"{out}: {asked.model}, input {' x '.join(map(str, sizes))}")
    print(f"  free  {free or 'nothing'}")
    shapes = " and ".join("x".join(map(str, shape)) for shape in exported.checked)
    print(f"  equal to the network on {shapes}, to {exported.largest_difference:.1e}")
    show_json(
        {
            "model": asked.model,
            "out": str(out),
            "bytes": size,
            "input": list(sizes),
            "free": {name: list(span) for name, span in ends.items()},
            "checked": [list(shape) for shape in exported.checked],
            "largest_difference": exported.largest_difference,
        }
    )


def _export_step(asked: Export, out: Path) -> None:
    model = load_live(asked, vectors=True)
    live, (height, width) = model.live, model.look.size
    frames = torch.zeros(2, live.found.frame[0], live.chunk, height, width)
    with write_whole(out) as temporary:
        exported = export_step(live, temporary, height=height, width=width)
        apart = compare_export(live, exported, frames, STEPS)
        if not apart <= ALLOWED:
            raise RunError(
                f"{out} would give outputs up to {apart:.1e} from the model's; nothing was written"
            )
        size = temporary.stat().st_size
    print(f"{out}: a step of {live.chunk} frame(s), outputs delayed by {live.delay}")
    print(f"  in   {', '.join(exported.inputs)}")
    print(f"  out  {', '.join(exported.outputs)}")
    print(f"  equal to the model over {STEPS} steps of two streams, to {apart:.1e}")
    show_json(
        {
            "model": asked.model,
            "out": str(out),
            "bytes": size,
            "inputs": list(exported.inputs),
            "outputs": list(exported.outputs),
            "frames": [live.found.frame[0], live.chunk, height, width],
            "delay": live.delay,
            "largest_difference": apart,
        }
    )
