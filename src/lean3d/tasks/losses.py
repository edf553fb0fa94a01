"""Losses for segmentation, by name, on logits and a volume of class numbers, or of regions.

Axes: B batch, K outputs, then D H W for volumes or H W for images.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lean3d.errors import RunError
from lean3d.processes import pooled

__all__ = ["Loss", "segmentation_loss"]

Loss = Literal["dice", "ce", "dice_ce"]
Function = Callable[[Tensor, Tensor], Tensor]
# as MONAI has it
SMOOTH = 1e-5


def segmentation_loss(
    name: str,
    *,
    background: bool = True,
    activation: Literal["softmax", "sigmoid"] = "softmax",
) -> Function:
    """Soft Dice, cross-entropy, or their sum.

    Called with logits (B, K, ...) and class numbers (B, ...); with a sigmoid, with logits and
    whether each voxel is in each region, (B, K, ...), and cross-entropy is binary.
    Dice is pooled over the batch: a class absent from one patch then has no separate loss there.
    Of processes that train together it is pooled over the batches of all, which MONAI's is not.

    Args:
        background: Count class 0 in the Dice term; of a softmax alone.
    """
    if name not in ("dice", "ce", "dice_ce"):
        raise RunError(f"no segmentation loss called {name!r}; there are dice, ce and dice_ce")
    terms: dict[str, Function] = {"dice": _dice_of_regions, "ce": _binary}
    if activation == "softmax":
        terms = {"dice": _dice_of_classes(background), "ce": F.cross_entropy}
    chosen = [term for word, term in terms.items() if word in name.split("_")]
    return lambda logits, target: torch.stack([term(logits, target) for term in chosen]).sum()


def _dice_of_classes(background: bool) -> Function:
    def dice(logits: Tensor, label: Tensor) -> Tensor:
        # float32: a sum over a volume loses its small terms in half precision
        probability = logits.float().softmax(1)
        target = torch.zeros_like(probability).scatter_(1, label.unsqueeze(1), 1.0)
        first = 0 if background else 1
        return _dice(probability[:, first:], target[:, first:])

    return dice


def _dice_of_regions(logits: Tensor, inside: Tensor) -> Tensor:
    return _dice(logits.float().sigmoid(), inside.float())


def _binary(logits: Tensor, inside: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits.float(), inside.float())


def _dice(probability: Tensor, target: Tensor) -> Tensor:
    """Return 1 - 2 P T / (P + T), of sums over the batch and space, averaged over the outputs."""
    axes = [0, *range(2, probability.ndim)]
    both = (probability * target).sum(axes)
    both, each = pooled(torch.stack([both, probability.sum(axes) + target.sum(axes)]))
    return (1 - (2 * both + SMOOTH) / (each + SMOOTH)).mean()
