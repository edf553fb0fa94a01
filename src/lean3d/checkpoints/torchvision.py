"""torchvision's video networks r3d_18, mc3_18 and r2plus1d_18: lean3d's own names."""

from lean3d.checkpoints.format import Facts, Preprocessing, Tensors
from lean3d.checkpoints.formats import register_format
from lean3d.checkpoints.structure import structure

__all__ = ["MEAN", "STD"]

MEAN, STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
CLIPS = Preprocessing(
    MEAN, STD, frames=16, fps=15, size=112, note="scaled to 128 x 171 before the crop"
)


def facts(tensors: Tensors) -> Facts:
    found = structure(tensors)
    poolless = found is not None and found.family == "resnet3d"
    given = {"pool1": False} if poolless else {}
    return Facts(eps=1e-5, pools=(None,), preprocessing=CLIPS, arguments=given)


@register_format("torchvision", "torchvision.models.video", facts=facts)
def owns(tensors: Tensors) -> bool:
    """Eighteen layers; of R(2+1)D's only those with torchvision's middle channels."""
    found = structure(tensors)
    if found is None or found.depth != 18 or found.arguments.get("in_channels"):
        return False
    shared = found.arguments.get("midplanes") == "torchvision"
    return found.family in ("resnet3d", "mc3") or (found.family == "r2plus1d" and shared)
