"""lean3d count --model MODEL --shape 1 1 64 64 64"""

from dataclasses import dataclass

from lean3d.cli.model import ModelFlags
from lean3d.cli.parse import parse
from lean3d.cost import count
from lean3d.cost.profiles import Profile
from lean3d.recipes.operators import operator
from lean3d.report import json_line

__all__ = ["main"]


@dataclass(frozen=True)
class Count:
    """Count what one inference pass of a model costs, without running it.

    Attributes:
        shape: The input, batch and channels first.
        conv: Operator of a 3D model, by name; the model's own by default.
        profile: What counts as an operation: macs, or the count a paper prints.
    """

    network: ModelFlags
    shape: tuple[int, ...]
    conv: str | None = None
    profile: Profile = "macs"


def main(argv: list[str]) -> None:
    asked = parse(Count, "count", argv)
    conv = None if asked.conv is None else operator(asked.conv)
    channels = asked.shape[1] if len(asked.shape) > 1 else None
    model = asked.network.build(in_channels=channels, conv=conv)
    cost = count(model, asked.shape, profile=asked.profile)
    print(cost)
    print(json_line({"model": asked.network.model, "conv": asked.conv, **cost.to_dict()}))
