"""Efficient-3DCNNs: MobileNets, ShuffleNets and SqueezeNet over clips.

The names are lean3d's, except for one letter missing from ShuffleNetV2's branches.
"""

import re

from lean3d.checkpoints.format import Facts, Preprocessing, Tensors, one_scheme
from lean3d.checkpoints.formats import register_format

__all__: list[str] = []

CLIPS = Preprocessing((114.7748, 107.7354, 99.475), (1.0, 1.0, 1.0), white=255, frames=16, size=112)
# first names of only these networks: MobileNet and its V2, SqueezeNet, ShuffleNet and its V2
MARKS = re.compile(
    r"features\.1\.conv1\.weight|features\.1\.conv\.0\.weight|features\.4\.squeeze_bn\.weight"
    r"|conv1\.0\.weight"
)
NAMES = one_scheme([(r"(features\.\d+\.b)(?=anch\d\.)", r"\1r")])


@register_format(
    "efficient-3dcnns",
    "Efficient-3DCNNs",
    names=NAMES,
    facts=lambda tensors: Facts(1e-5, preprocessing=CLIPS),
)
def owns(tensors: Tensors) -> bool:
    """Whether it has names of these networks, and their classifier."""
    return "classifier.1.weight" in tensors and any(map(MARKS.fullmatch, tensors))
