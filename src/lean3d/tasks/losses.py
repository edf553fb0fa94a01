"""Losses for segmentation, by name, on logits and a volume of class numbers, or of regions."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from lean3d.errors import RunError
from lean3d.optional import require

__all__ = ["Loss", "segmentation_loss"]

Loss = Literal["dice", "ce", "dice_ce"]


def segmentation_loss(
    name: str,
    *,
    background: bool = True,
    activation: Literal["softmax", "sigmoid"] = "softmax",
) -> Callable[[Tensor, Tensor], Tensor]:
    """Soft Dice, cross-entropy, or their sum.

    Called with logits (B, K, ...) and class numbers (B, ...); with a sigmoid, with logits and
    whether each voxel is in each region, (B, K, ...), and cross-entropy is binary.
    Dice is pooled over the batch: a class absent from one patch then has no separate loss there.

    Args:
        background: Count class 0 in the Dice term; of a softmax alone.
    """
    if name not in ("dice", "ce", "dice_ce"):
        raise RunError(f"no segmentation loss called {name!r}; there are dice, ce and dice_ce")
    if activation == "sigmoid":
        return _of_regions(name)
    if name == "ce":
        return nn.CrossEntropyLoss()
    losses = require("monai.losses", extra="volume")
    kind = losses.DiceLoss if name == "dice" else losses.DiceCELoss
    dice = kind(include_background=background, to_onehot_y=True, softmax=True, batch=True)
    # float32: a sum over a volume loses its small terms in half precision
    return lambda logits, label: dice(logits.float(), label.unsqueeze(1))


def _of_regions(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    binary = nn.BCEWithLogitsLoss()
    dice = require("monai.losses", extra="volume").DiceLoss(sigmoid=True, batch=True)
    terms = {"dice": (dice,), "ce": (binary,), "dice_ce": (dice, binary)}[name]

    def loss(logits: Tensor, inside: Tensor) -> Tensor:
        logits, inside = logits.float(), inside.float()
        return sum((term(logits, inside) for term in terms[1:]), terms[0](logits, inside))

    return loss
