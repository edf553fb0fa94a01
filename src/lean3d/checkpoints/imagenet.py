"""2D ResNets of torchvision's names, inflated into 3D ones: on request alone.

A kernel is repeated over the frames of the network's, each time divided by their number (Carreira
and Zisserman, I3D, arXiv:1705.07750): a static video gives what each of its frames gave. A network
whose shortcuts have no projections, such as D-ResNet-18, takes all other weights.
"""

from lean3d.checkpoints.format import Facts, Preprocessing, Tensors
from lean3d.checkpoints.formats import register_format
from lean3d.checkpoints.hara import NAMES

__all__: list[str] = []

IMAGES = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), size=224, note="images")


@register_format(
    "imagenet",
    "a 2D ResNet of torchvision or timm",
    names=NAMES,
    facts=lambda tensors: Facts(1e-5, ((1, 3, 3),), (1, 2, 2), IMAGES),
    spare=r"layer\d\.\d+\.downsample\.",
    inflates=True,
)
def owns(tensors: Tensors) -> bool:
    """Only on request: without it, 2D weights are of a 2D network."""
    return False
