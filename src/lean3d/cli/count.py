"""lean3d count MODEL --input 1,3,8,224,224"""

from dataclasses import dataclass
from pathlib import Path

from lean3d.cli.model import ModelFlags
from lean3d.cli.parse import parse
from lean3d.cost import count
from lean3d.cost.profiles import Profile
from lean3d.errors import RunError
from lean3d.files import write_text
from lean3d.recipes.operators import operator
from lean3d.report import json_line

__all__ = ["main"]


@dataclass(frozen=True)
class Count:
    """Count what one inference pass of a model costs, without running it.

    Attributes:
        input: Sizes with commas, batch and channels first; what its paper feeds it by default.
        conv: Operator of a 3D model, by name; the model's own by default.
        profile: What counts as an operation: macs, or the count a paper prints.
        stages: Sum the layers by the first so many names of their paths, such as 1.
        csv: Where to write the table.
        json: Where to write all of it; the last line printed has no layers.
    """

    network: ModelFlags
    input: str | None = None
    conv: str | None = None
    profile: Profile = "macs"
    stages: int | None = None
    csv: Path | None = None
    json: Path | None = None


def main(argv: list[str]) -> None:
    asked = parse(Count, "count", argv)
    if asked.stages is not None and asked.stages < 1:
        raise RunError(f"--stages takes the first names of a path, 1 or more, got {asked.stages}")
    sizes = asked.network.sizes(asked.input)
    conv = None if asked.conv is None else operator(asked.conv)
    channels = sizes[1] if len(sizes) > 1 else None
    model = asked.network.build(in_channels=channels, conv=conv)
    cost = count(model, sizes, profile=asked.profile)
    record = {"model": asked.network.model, "conv": asked.conv, **cost.to_dict(asked.stages)}
    if asked.csv is not None:
        write_text(asked.csv, cost.csv(asked.stages))
    if asked.json is not None:
        write_text(asked.json, json_line(record) + "\n")
    print(cost.table(asked.stages))
    print(json_line({key: value for key, value in record.items() if key != "layers"}))
