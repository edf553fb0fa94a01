"""The networks of CSN's authors, converted from Caffe2 to PyTorch: VMZ, and ig65m-pytorch.

The names are torchvision's, and so lean3d's. Caffe2's batch norm has the epsilon 1e-3.
"""

from dataclasses import replace

from lean3d.checkpoints.format import Facts, Preprocessing, Tensors, untracked
from lean3d.checkpoints.formats import register_format
from lean3d.checkpoints.structure import structure
from lean3d.checkpoints.torchvision import MEAN, STD

__all__ = ["caffe2_facts"]

CLIPS = Preprocessing(MEAN, STD, frames=32, step=2, size=224, short_side=256)
SMALL = replace(CLIPS, frames=None, step=None, size=112, short_side=128, note="8 or 32 frames")
POOL = (1, 3, 3)


def caffe2_facts(tensors: Tensors) -> Facts:
    """What VMZ's networks share; R(2+1)D of 152 layers was trained with and without the pool."""
    found = structure(tensors)
    if found is None or found.family != "r2plus1d":
        return Facts(1e-3, (POOL,), preprocessing=CLIPS)
    pools = (None, POOL) if found.depth == 152 else (None,)
    return Facts(1e-3, pools, preprocessing=SMALL)


@register_format("vmz", "VMZ (pt) or ig65m-pytorch", facts=caffe2_facts)
def owns(tensors: Tensors) -> bool:
    """Channel-separated, or R(2+1)D of 34 or 152 layers, and never trained in PyTorch."""
    found = structure(tensors)
    if found is None or not untracked(tensors):
        return False
    deep = found.depth > 18 and "midplanes" not in found.arguments
    return found.family in ("ir_csn", "ip_csn") or (found.family == "r2plus1d" and deep)
