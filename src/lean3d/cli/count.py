"""lean3d count MODEL --input 1,3,8,224,224"""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from lean3d.cli.model import NetworkFlags
from lean3d.cli.parse import parse
from lean3d.cli.show import show_json, width
from lean3d.cost import count
from lean3d.cost.profiles import Profile
from lean3d.errors import RunError
from lean3d.files import check_outputs, write_text
from lean3d.report import json_line
from lean3d.streaming import stream

__all__ = ["main"]


@dataclass(frozen=True)
class Count:
    """Count what a pass of a model, and its training, cost, without running it.

    Attributes:
        input: Sizes with commas, batch and channels first; the input of its paper by default.
        conv: Operator of a 3D model of lean3d, by name; the model's own by default.
        profile: What counts as an operation: macs, or the count a paper prints.
        stream: Count the state of a stream between frames, too.
        stages: Sum the layers by this many leading names of their paths, such as 1.
        csv: Where to write the table.
        json: Where to write all of it; the last line printed has no layers.
    """

    network: NetworkFlags
    input: str | None = None
    conv: str | None = None
    profile: Profile = "macs"
    stream: bool = False
    stages: int | None = None
    csv: Path | None = None
    json: Path | None = None


def main(argv: list[str]) -> None:
    asked = parse(Count, "count", argv)
    if asked.stages is not None and asked.stages < 1:
        raise RunError(f"--stages takes the first names of a path, 1 or more, got {asked.stages}")
    check_outputs({"--csv": asked.csv, "--json": asked.json})
    sizes = asked.network.sizes(asked.input)
    channels = sizes[1] if len(sizes) > 1 else None
    model = asked.network.build(in_channels=channels, conv=asked.conv)
    cost = count(model, sizes, profile=asked.profile, training=True)
    record = {"model": asked.network.model, "conv": asked.conv, **cost.to_dict(asked.stages)}
    if asked.stream:
        record["state_bytes"] = _state_bytes(model, sizes)
    if asked.csv is not None:
        write_text(asked.csv, cost.csv(asked.stages))
    if asked.json is not None:
        write_text(asked.json, json_line(record) + "\n")
    print(cost.table(asked.stages, width()))
    if asked.stream:
        print(_kept(record["state_bytes"]))
    show_json({key: value for key, value in record.items() if key != "layers"})


def _state_bytes(model: nn.Module, sizes: tuple[int, ...]) -> dict[str, int]:
    """Return bytes of a stream's state by kind, for the frames of the input."""
    batch, channels, *_, height, width = sizes
    live = stream(model.eval(), frame=(channels, height, width))
    state = live.state_bytes(batch, height=height, width=width)
    parts = {"maps": state.conv_state, "head": state.head_state, "input": state.input_state}
    return {**parts, "total": state.total}


def _kept(state: dict[str, int]) -> str:
    parts = ", ".join(f"{size:,} of {name}" for name, size in state.items() if name != "total")
    return f"a stream keeps {state['total']:,} bytes between frames: {parts}"
