"""Find the registered network of given weights, by the names and shapes of its tensors."""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from lean3d.checkpoints.format import Tensors, sizes
from lean3d.ops.space_time import matching_width

__all__ = ["Structure", "structure"]

BLOCK = re.compile(r"layer(\d+)\.(\d+)\.conv1\.0\.")
# blocks of each stage, and whether they are bottlenecks -> layers
DEPTHS: dict[tuple[tuple[int, ...], bool], int] = {
    ((1, 1, 1, 1), False): 10,
    ((2, 2, 2, 2), False): 18,
    ((3, 4, 6, 3), False): 34,
    ((2, 2, 2, 2), True): 26,
    ((3, 4, 6, 3), True): 50,
    ((3, 4, 23, 3), True): 101,
    ((3, 8, 36, 3), True): 152,
    ((3, 24, 36, 3), True): 200,
}


@dataclass(frozen=True)
class Structure:
    """A family, its depth and further arguments of create_model.

    Args:
        family: "ir_csn", "ip_csn", "resnet3d", "mc3", "r2plus1d", "hara_resnet" or
            "resnext3d".
        arguments: For create_model.
    """

    family: str
    depth: int
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name in the registry."""
        return f"{self.family}_{self.depth}"

    def __str__(self) -> str:
        given = "".join(f", {key}={value!r}" for key, value in self.arguments.items())
        return f'create_model("{self.name}"{given})'


def structure(tensors: Tensors) -> Structure | None:
    """Describe tensors named as in lean3d's residual networks for video; None for anything else.

    Raises:
        DataError: a tensor of such a network has no shape of one.
    """
    places = {(m[1], m[2]) for key in tensors if (m := BLOCK.match(key))}
    counts = tuple(n for _, n in sorted(Counter(stage for stage, _ in places).items()))
    depth = DEPTHS.get((counts, "layer1.0.conv3.0.weight" in tensors))
    stem = tensors.get("stem.0.weight")
    if depth is None or stem is None or stem.ndim == 4:  # a 2D ResNet has four axes
        return None
    arguments: dict[str, Any] = {}
    if (channels := sizes(tensors, "stem.0.weight", 5)[1]) != 3:
        arguments["in_channels"] = channels
    if "fc.weight" in tensors:
        arguments["num_classes"] = sizes(tensors, "fc.weight", 2)[0]
    family = _family(tensors)
    if family is None:
        return None
    if family == "r2plus1d" and (cut := _midplanes(tensors)) != "paper":
        arguments["midplanes"] = cut
    if family == "hara_resnet" and "layer2.0.downsample.0.weight" in tensors:
        arguments["shortcut"] = "B"
    return Structure(family, depth, arguments)


def _family(tensors: Tensors) -> str | None:
    keys = set(tensors)
    if "layer1.0.conv2.0.3.weight" in keys:
        return "r2plus1d"
    if "layer1.0.conv2.0.2.weight" in keys:
        return "ip_csn"
    if "layer1.0.conv2.0.weight" not in keys:
        return None
    out, inner, *kernel = sizes(tensors, "layer1.0.conv2.0.weight", 5)
    if kernel != [3, 3, 3]:
        return None
    if inner == 1:
        return "ir_csn" if "layer1.0.conv3.0.weight" in keys else None
    if sizes(tensors, "stem.0.weight", 5)[2] == 7:
        return "hara_resnet" if out == inner else "resnext3d"
    flat = sizes(tensors, "layer2.0.conv1.0.weight", 5)[2:] == (1, 3, 3)
    return "mc3" if flat else "resnet3d"


def _midplanes(tensors: Tensors) -> str:
    """Whether shortcuts are pairs too, or the second pair of a block has the first's middle."""
    if "layer2.0.downsample.0.3.weight" in tensors:
        return "mmaction2"
    middle, inner, *_ = sizes(tensors, "layer2.0.conv2.0.0.weight", 5)
    out = sizes(tensors, "layer2.0.conv2.0.3.weight", 5)[0]
    return "paper" if middle == matching_width(inner, out, (3, 3, 3)) else "torchvision"
