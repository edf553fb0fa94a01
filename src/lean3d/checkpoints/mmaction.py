"""mmaction2's channel-separated networks and R(2+1)D.

Its R(2+1)D factorises the stem and the shortcuts too, and has a pool behind the stem.
"""

import re
from dataclasses import replace
from typing import Any

from lean3d.checkpoints.format import Facts, Preprocessing, Tensors, one_scheme
from lean3d.checkpoints.formats import register_format
from lean3d.checkpoints.structure import structure

__all__: list[str] = []

CLIPS = Preprocessing(
    (123.675, 116.28, 103.53),
    (58.395, 57.12, 57.375),
    white=255,
    frames=32,
    step=2,
    size=224,
    short_side=256,
)
PAIR_CLIPS = replace(CLIPS, frames=None, step=None, note="8 frames of step 8, or 32 of step 2")
BLOCK = r"(?:backbone\.)?(layer\d+\.\d+)\."
SHARED = [
    (r"(?:backbone\.)?conv1\.conv\.", "stem.0."),
    (r"(?:backbone\.)?conv1\.bn\.", "stem.1."),
    (BLOCK + r"downsample\.conv\.", r"\1.downsample.0."),
    (BLOCK + r"downsample\.bn\.", r"\1.downsample.1."),
    (BLOCK + r"(conv\d)\.conv\.", r"\1.\2.0."),
    (BLOCK + r"(conv\d)\.bn\.", r"\1.\2.1."),
    (r"cls_head\.fc_cls\.", "fc."),
]
REDUCED = [
    (BLOCK + r"conv2\.0\.conv\.", r"\1.conv2.0."),
    (BLOCK + r"conv2\.0\.bn\.", r"\1.conv2.1."),
]
PRESERVED = [
    (BLOCK + r"conv2\.0\.conv\.", r"\1.conv2.0.0."),
    (BLOCK + r"conv2\.0\.bn\.", r"\1.conv2.0.1."),
    (BLOCK + r"conv2\.1\.conv\.", r"\1.conv2.0.2."),
    (BLOCK + r"conv2\.1\.bn\.", r"\1.conv2.1."),
]
# conv_s, bn_s and conv_t of a Conv2plus1d, which replaces the convolution of a ConvModule
PARTS = {"conv_s": 0, "bn_s": 1, "conv_t": 3}
PAIRED = [
    (r"(?:backbone\.)?conv1\.bn\.", "stem.4."),
    *(
        rule
        for part, place in PARTS.items()
        for rule in (
            (rf"(?:backbone\.)?conv1\.conv\.{part}\.", f"stem.{place}."),
            (BLOCK + rf"(conv\d|downsample)\.conv\.{part}\.", rf"\1.\2.0.{place}."),
        )
    ),
]


def names(tensors: Tensors) -> dict[str, str]:
    """ip-CSN has two ConvModules in conv2, ir-CSN one."""
    rules = REDUCED
    if any(".conv2.1.conv." in key for key in tensors):
        rules = PRESERVED
    if any(".conv_s." in key for key in tensors):
        rules = PAIRED
    return one_scheme(rules + SHARED)(tensors)


def facts(tensors: Tensors) -> Facts:
    found = structure(tensors)
    if found is not None and found.family == "r2plus1d":
        # norm_cfg with its epsilon does not reach the norms inside of Conv2plus1d
        inside = {r"(^stem\.1|\.0\.1|bn_s)$": 1e-5}
        more: dict[str, Any] = dict(other_eps=inside, arguments={"pool1": True})
        return Facts(1e-3, ((1, 3, 3),), preprocessing=PAIR_CLIPS, **more)
    separated = found is not None and found.family in ("ir_csn", "ip_csn")
    return Facts(1e-3 if separated else 1e-5, ((1, 3, 3),), preprocessing=CLIPS)


@register_format("mmaction2", "mmaction2", names=names, facts=facts)
def owns(tensors: Tensors) -> bool:
    """The ConvModules of its ResNet3d: `conv` and `bn` inside conv1."""
    first = r"(backbone\.)?layer1\.0\.conv1\.conv\.(conv_s\.)?weight"
    return any(re.fullmatch(first, key) for key in tensors)
