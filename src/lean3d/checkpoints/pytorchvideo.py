"""pytorchvideo's residual networks: csn_r101, and what create_csn builds. There is no ip-CSN."""

from dataclasses import replace

from lean3d.checkpoints.format import Facts, Preprocessing, Tensors, one_scheme
from lean3d.checkpoints.formats import register_format
from lean3d.checkpoints.structure import structure

__all__: list[str] = []

CLIPS = Preprocessing(
    (0.45, 0.45, 0.45), (0.225, 0.225, 0.225), frames=32, step=2, size=224, short_side=256
)
BLOCK = r"blocks\.(\d+)\.res_blocks\.(\d+)\."
NAMES = one_scheme(
    [
        (r"blocks\.0\.conv\.", "stem.0."),
        (r"blocks\.0\.norm\.", "stem.1."),
        (BLOCK + r"branch1_conv\.", r"layer\1.\2.downsample.0."),
        (BLOCK + r"branch1_norm\.", r"layer\1.\2.downsample.1."),
        *(
            (BLOCK + rf"branch2\.{kind}_{letter}\.", rf"layer\1.\2.conv{number}.{index}.")
            for number, letter in enumerate("abc", start=1)
            for index, kind in enumerate(("conv", "norm"))
        ),
        (r"blocks\.5\.proj\.", "fc."),
    ]
)


def facts(tensors: Tensors) -> Facts:
    """Its published CSN has the pool, though create_csn leaves it out by default."""
    if structure(tensors) is None:
        pixels = replace(CLIPS, frames=None, step=None, size=None, short_side=None)
        return Facts(1e-5, preprocessing=pixels)
    return Facts(1e-5, ((1, 3, 3),), preprocessing=CLIPS)


@register_format("pytorchvideo", "pytorchvideo", names=NAMES, facts=facts)
def owns(tensors: Tensors) -> bool:
    return "blocks.1.res_blocks.0.branch2.conv_a.weight" in tensors
