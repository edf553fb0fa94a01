"""VMZ's Caffe2 blobs, such as comp_12_conv_2_middle_w, written as tensors.

Blocks are numbered through all stages; a stage begins with the first block, and with every block
that has a projection. Convolutions of a block are numbered 1, 2, 3, in ir-CSN 1, 3, 4.
"""

import re
from collections.abc import Iterator

from lean3d.checkpoints.format import Tensors
from lean3d.checkpoints.formats import register_format
from lean3d.checkpoints.vmz import caffe2_facts

__all__: list[str] = []

CONV = re.compile(r"comp_(\d+)_conv_(\d+)(_middle)?_w$")
PARTS = {"s": "weight", "b": "bias", "rm": "running_mean", "riv": "running_var"}


def names(tensors: Tensors) -> dict[str, str]:
    """Blobs that are not weights keep their names."""
    renamed = {key: key for key in tensors}
    for old, new in _pairs(tensors):
        for end, part in PARTS.items():
            renamed[f"{old}_{end}"] = f"{new}.{part}"
        renamed[f"{old}_w"] = f"{new}.weight"
    for key in tensors:
        if match := re.fullmatch(r"last_out_L\d+_([wb])", key):
            renamed[key] = {"w": "fc.weight", "b": "fc.bias"}[match[1]]
    return {key: renamed[key] for key in tensors}


def _pairs(tensors: Tensors) -> Iterator[tuple[str, str]]:
    """Prefixes of the blobs and parameters of one layer."""
    last = 0
    if "conv1_middle_w" in tensors:
        yield from (("conv1_middle", "stem.0"), ("conv1_middle_spatbn_relu", "stem.1"))
        last = 3
    yield from (("conv1", f"stem.{last}"), ("conv1_spatbn_relu", f"stem.{last + 1}"))
    for block, place in _places(tensors).items():
        shortcut = f"shortcut_projection_{block}"
        yield from (
            (shortcut, f"{place}.downsample.0"),
            (f"{shortcut}_spatbn", f"{place}.downsample.1"),
        )
        found = [m for m in map(CONV.match, tensors) if m and int(m[1]) == block]
        for order, number in enumerate(sorted({int(m[2]) for m in found}), start=1):
            yield from _layer(tensors, f"comp_{block}", number, f"{place}.conv{order}")


def _layer(tensors: Tensors, comp: str, number: int, new: str) -> Iterator[tuple[str, str]]:
    """A convolution and its norm; if there is one in the middle, both are in a Sequential."""
    conv, norm = f"{comp}_conv_{number}", f"{comp}_spatbn_{number}"
    middle = tensors.get(f"{conv}_middle_w")
    if middle is None:
        yield from ((conv, f"{new}.0"), (norm, f"{new}.1"))
        return
    # a ReLU follows the 1x3x3 of R(2+1)D, but not the 1x1x1 of ip-CSN
    last = 2 if middle.shape[2:] == (1, 1, 1) else 3
    yield from ((f"{conv}_middle", f"{new}.0.0"), (f"{norm}_middle", f"{new}.0.1"))
    yield from ((conv, f"{new}.0.{last}"), (norm, f"{new}.1"))


def _places(tensors: Tensors) -> dict[int, str]:
    """Number of a block -> layer1.0, layer1.1, ..."""
    blocks = sorted({int(m[1]) for m in map(CONV.match, tensors) if m})
    places, stage, index = {}, 0, 0
    for block in blocks:
        if block == 0 or f"shortcut_projection_{block}_w" in tensors:
            stage, index = stage + 1, 0
        places[block] = f"layer{stage}.{index}"
        index += 1
    return places


@register_format(
    "caffe2",
    "VMZ (Caffe2 blobs)",
    names=names,
    facts=caffe2_facts,
    spare=r"(?!stem|layer|fc)",
)
def owns(tensors: Tensors) -> bool:
    return "comp_0_conv_1_w" in tensors
