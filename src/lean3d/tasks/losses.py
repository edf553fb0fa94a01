"""Losses for segmentation, by name, on logits and a volume of class numbers, or of regions.

Axes: B batch, K outputs, then D H W for volumes or H W for images.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lean3d.errors import RunError
from lean3d.processes import pooled, pooled_mean

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
    weights: Sequence[float] | None = None,
) -> Function:
    """Soft Dice, cross-entropy, or their sum.

    Called with logits (B, K, ...) and class numbers (B, ...); with a sigmoid, with logits and
    whether each voxel is in each region, (B, K, ...), and cross-entropy is binary.
    Dice is pooled over the batch: a class absent from one patch then has no separate loss there.
    Of processes that train together it is pooled over the batches of all, which MONAI's is not.

    Args:
        background: Count class 0 in the Dice term; of a softmax alone.
        weights: Of the K outputs, all equal by default. Dice is their weighted mean, and
            cross-entropy that of voxels with the weights of their classes, as torch's is; of a
            sigmoid that of the outputs.
    """
    if name not in ("dice", "ce", "dice_ce"):
        raise RunError(f"no segmentation loss called {name!r}; there are dice, ce and dice_ce")
    weights_K = None if weights is None else torch.tensor(weights, dtype=torch.float32)
    # functions of the module, so that a task can be pickled for processes that are spawned
    terms: dict[str, Function] = {
        "dice": partial(_dice_of_regions, weights_K),
        "ce": partial(_entropy_of_regions, weights_K),
    }
    if activation == "softmax":
        terms = {
            "dice": partial(_dice_of_classes, weights_K, 0 if background else 1),
            "ce": partial(_entropy_of_classes, weights_K),
        }
    return partial(_sum, [term for word, term in terms.items() if word in name.split("_")])


def _sum(terms: Sequence[Function], logits: Tensor, target: Tensor) -> Tensor:
    return torch.stack([term(logits, target) for term in terms]).sum()


def _dice_of_classes(weights_K: Tensor | None, first: int, logits: Tensor, label: Tensor) -> Tensor:
    # float32: a sum over a volume loses its small terms in half precision
    probability = logits.float().softmax(1)
    target = torch.zeros_like(probability).scatter_(1, label.unsqueeze(1), 1.0)
    weights = None if weights_K is None else weights_K[first:]
    return _dice(probability[:, first:], target[:, first:], weights)


def _entropy_of_classes(weights_K: Tensor | None, logits: Tensor, label: Tensor) -> Tensor:
    if weights_K is None:
        return F.cross_entropy(logits, label)
    weights = weights_K.to(logits.device)
    total = F.cross_entropy(logits.float(), label, weights, reduction="sum")
    return pooled_mean(total, weights[label].sum())


def _dice_of_regions(weights_K: Tensor | None, logits: Tensor, inside: Tensor) -> Tensor:
    return _dice(logits.float().sigmoid(), inside.float(), weights_K)


def _entropy_of_regions(weights_K: Tensor | None, logits: Tensor, inside: Tensor) -> Tensor:
    if weights_K is None:
        return F.binary_cross_entropy_with_logits(logits.float(), inside.float())
    loss = F.binary_cross_entropy_with_logits(logits.float(), inside.float(), reduction="none")
    return _mean(loss.movedim(1, 0).flatten(1).mean(1), weights_K)


def _dice(probability: Tensor, target: Tensor, weights_K: Tensor | None) -> Tensor:
    """Return 1 - 2 P T / (P + T), of sums over the batch and space, averaged over the outputs."""
    axes = [0, *range(2, probability.ndim)]
    both = (probability * target).sum(axes)
    both, each = pooled(torch.stack([both, probability.sum(axes) + target.sum(axes)]))
    return _mean(1 - (2 * both + SMOOTH) / (each + SMOOTH), weights_K)


def _mean(loss_K: Tensor, weights_K: Tensor | None) -> Tensor:
    if weights_K is None:
        return loss_K.mean()
    weights = weights_K.to(loss_K.device)
    return (loss_K * weights).sum() / weights.sum()
