"""lean3d export MODEL --out STEP.onnx"""

from dataclasses import dataclass
from pathlib import Path

import torch

from lean3d.checkpoints import load_checkpoint
from lean3d.cli.live_model import load_live
from lean3d.cli.model import ModelFlags
from lean3d.cli.parse import parse
from lean3d.errors import RunError
from lean3d.report import json_line
from lean3d.stream import Stream, stream
from lean3d.stream.export import compare_export, export_step

__all__ = ["main"]

SIZE, STEPS, ALLOWED = 112, 8, 1e-4


@dataclass(frozen=True)
class Export(ModelFlags):
    """Write a model's step for other runtimes, the state as inputs and outputs, and check it.

    Attributes:
        model: A name of lean3d.list_models(), or the folder of a run.
        out: Where to write: .onnx for ONNX, .pt2 for torch.export.
        size: Height and width of a frame; 112, or those of the run, by default.
        weights: Of a registered model, in any format lean3d.load_checkpoint reads.
        format: Of the weights, where their keys do not tell; lean3d for your own.
        wait: Stream a conventional model by waiting for the frames it looks ahead to.
        window: With --wait, frames that a mean over all time spans.
    """

    out: Path = Path("step.onnx")
    size: int | None = None
    weights: Path | None = None
    format: str | None = None
    wait: bool = False
    window: int | None = None


def main(argv: list[str]) -> None:
    asked = parse(Export, "export", argv)
    live, side = _load(asked)
    exported = export_step(live, asked.out, height=side, width=side)
    frames = torch.zeros(2, live.found.frame[0], live.chunk, side, side)
    apart = compare_export(live, exported, frames, STEPS)
    if apart > ALLOWED:
        raise RunError(f"{asked.out} answers otherwise than the model, by up to {apart:.1e}")
    print(f"{asked.out}: a step of {live.chunk} frame(s), answers {live.delay} frames late")
    print(f"  in   {', '.join(exported.inputs)}")
    print(f"  out  {', '.join(exported.outputs)}")
    print(f"  equal to the model over {STEPS} steps of two streams, to {apart:.1e}")
    print(
        json_line(
            {
                "model": asked.model,
                "out": str(asked.out),
                "bytes": asked.out.stat().st_size,
                "inputs": list(exported.inputs),
                "outputs": list(exported.outputs),
                "frames": [live.found.frame[0], live.chunk, side, side],
                "delay": live.delay,
                "largest_difference": apart,
            }
        )
    )


def _load(asked: Export) -> tuple[Stream, int]:
    if Path(asked.model).is_dir():
        model = load_live(asked, asked.size, asked.weights, asked.format)
        return model.live, model.size
    if asked.size is not None and asked.size < 1:
        raise RunError(f"--size is 1 pixel or more, got {asked.size}")
    built = asked.build().eval()
    if asked.weights is not None:
        load_checkpoint(built, asked.weights, format=asked.format)
    return stream(built, wait=asked.wait, window=asked.window), asked.size or SIZE
