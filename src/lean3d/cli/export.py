"""lean3d export MODEL --out STEP.onnx"""

from dataclasses import dataclass
from pathlib import Path

import torch

from lean3d.cli.live_model import LiveFlags, load_live
from lean3d.cli.parse import parse
from lean3d.cli.show import show_json
from lean3d.errors import RunError
from lean3d.files import check_outputs, write_whole
from lean3d.streaming.export import SUFFIXES, compare_export, export_step

__all__ = ["main"]

STEPS, ALLOWED = 8, 1e-4


@dataclass(frozen=True)
class Export(LiveFlags):
    """Write a model's step for other runtimes, the state as inputs and outputs, and check it.

    Attributes:
        out: Where to write: .onnx for ONNX, .pt2 for torch.export.
    """

    out: Path = Path("step.onnx")


def main(argv: list[str]) -> None:
    asked = parse(Export, "export", argv)
    if asked.out.suffix not in SUFFIXES:
        raise RunError(f"export writes {' and '.join(SUFFIXES)}, got --out {asked.out}")
    check_outputs({"--out": asked.out}, asked.read())
    model = load_live(asked)
    live, (height, width) = model.live, model.look.size
    frames = torch.zeros(2, live.found.frame[0], live.chunk, height, width)
    with write_whole(asked.out) as temporary:
        exported = export_step(live, temporary, height=height, width=width)
        apart = compare_export(live, exported, frames, STEPS)
        if not apart <= ALLOWED:
            raise RunError(
                f"{asked.out} would give outputs up to {apart:.1e} from the model's; "
                "nothing was written"
            )
        size = temporary.stat().st_size
    print(f"{asked.out}: a step of {live.chunk} frame(s), answers {live.delay} frames late")
    print(f"  in   {', '.join(exported.inputs)}")
    print(f"  out  {', '.join(exported.outputs)}")
    print(f"  equal to the model over {STEPS} steps of two streams, to {apart:.1e}")
    show_json(
        {
            "model": asked.model,
            "out": str(asked.out),
            "bytes": size,
            "inputs": list(exported.inputs),
            "outputs": list(exported.outputs),
            "frames": [live.found.frame[0], live.chunk, height, width],
            "delay": live.delay,
            "largest_difference": apart,
        }
    )
