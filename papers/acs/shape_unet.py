"""The UNet of the proof of concept (Appendix B), resized linearly as the released code does.

lean3d's own `unet2d` and `unet3d` have the same parameters and repeat pixels instead. Their answers
are constant in blocks of two, and the best such answer has a Dice of 94.6 on the images and of 89.5
on the volumes, less than the paper reports.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.data import SHAPES_2D, SHAPES_3D
from lean3d.models.unet import UNet
from lean3d.ops import ACSConv3d, PlanarConv3d, SoftACSConv3d
from papers.trained import seeded

__all__ = ["FORMS", "ShapeUNet", "flat_unet", "last_features", "solid_unet", "transfer"]

LINEAR = {4: "bilinear", 5: "trilinear"}
FORMS: dict[str, Callable[..., nn.Module] | None] = {
    "2.5D": PlanarConv3d,
    "3D": None,
    "ACS": ACSConv3d,
    "Soft-ACS": SoftACSConv3d,
}


class ShapeUNet(UNet):
    """UNet whose features are resized linearly.

    Shape: (B, 1, [D,] H, W) -> (B, K, [D,] H, W).
    """

    def _resize(self, x: Tensor, size: Sequence[int]) -> Tensor:
        return x if x.shape[2:] == size else F.interpolate(x, list(size), mode=LINEAR[x.ndim])


def flat_unet(widths: Sequence[int], seed: int, classes: int = len(SHAPES_2D)) -> ShapeUNet:
    """Over images of circles and squares, with weights that the seed fixes."""
    return _seeded(seed, 2, 1, classes, widths)


def solid_unet(
    form: str, widths: Sequence[int], seed: int, classes: int = len(SHAPES_3D)
) -> ShapeUNet:
    """Over volumes of solids, in a form of FORMS, with weights that the seed fixes."""
    return _seeded(seed, 3, 1, classes, widths, conv=FORMS[form])


def _seeded(seed: int, *sizes: Any, **options: Any) -> ShapeUNet:
    with seeded(seed):
        return ShapeUNet(*sizes, **options)


def transfer(
    weights: Mapping[str, Tensor], model: nn.Module, parts: Sequence[str] = ("encoder", "decoder")
) -> nn.Module:
    """Load 2D weights into the named parts of a 2.5D or ACS network; the others stay fresh."""
    chosen = {name: value for name, value in weights.items() if name.split(".")[0] in parts}
    _, unknown = model.load_state_dict(chosen, strict=False)
    assert not unknown, unknown
    return model


@torch.no_grad()
def last_features(model: ShapeUNet, x: Tensor) -> Tensor:
    """What the last layer reads, (B, C, [D,] H, W), by the running statistics of batch norm."""
    seen: list[Tensor] = []
    hook = model.head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        model.eval()(x)
    finally:
        hook.remove()
    return seen[0]
