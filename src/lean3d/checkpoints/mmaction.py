"""mmaction2's channel-separated networks and 3D ResNets."""

from lean3d.checkpoints.format import Facts, Format, Preprocessing, Tensors, one_scheme
from lean3d.checkpoints.structure import structure

__all__ = ["MMACTION"]

CLIPS = Preprocessing(
    (123.675, 116.28, 103.53),
    (58.395, 57.12, 57.375),
    white=255,
    frames=32,
    step=2,
    size=224,
    short_side=256,
)
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


def owns(tensors: Tensors) -> bool:
    """The ConvModules of its ResNet3d: `conv` and `bn` inside conv1."""
    return any(key.endswith("layer1.0.conv1.conv.weight") for key in tensors)


def names(tensors: Tensors) -> dict[str, str]:
    """ip-CSN has two ConvModules in conv2, ir-CSN one."""
    preserved = any(".conv2.1.conv." in key for key in tensors)
    return one_scheme((PRESERVED if preserved else REDUCED) + SHARED)(tensors)


def facts(tensors: Tensors) -> Facts:
    found = structure(tensors)
    separated = found is not None and found.family in ("ir_csn", "ip_csn")
    return Facts(1e-3 if separated else 1e-5, ((1, 3, 3),), preprocessing=CLIPS)


MMACTION = Format("mmaction2", "mmaction2", owns, names, facts)
