"""Losses for segmentation, by name, on logits and a volume of class numbers."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from lean3d.errors import RunError
from lean3d.optional import require

__all__ = ["Loss", "segmentation_loss"]

Loss = Literal["dice", "ce", "dice_ce"]


def segmentation_loss(name: str, *, background: bool = True) -> Callable[[Tensor, Tensor], Tensor]:
    """Soft Dice, cross-entropy, or their sum: called with logits (B, K, ...) and labels (B, ...).

    Dice is pooled over the batch: a class absent from one patch then has no separate loss there.

    Args:
        background: Count class 0 in the Dice term.
    """
    if name == "ce":
        return nn.CrossEntropyLoss()
    if name not in ("dice", "dice_ce"):
        raise RunError(f"no segmentation loss called {name!r}; there are dice, ce and dice_ce")
    losses = require("monai.losses", extra="volume")
    kind = losses.DiceLoss if name == "dice" else losses.DiceCELoss
    dice = kind(include_background=background, to_onehot_y=True, softmax=True, batch=True)
    # float32: a sum over a volume loses its small terms in half precision
    return lambda logits, label: dice(logits.float(), label.unsqueeze(1))
