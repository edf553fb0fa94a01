"""Learn affinities, foreground and boundaries from instance labels.

Funke et al., arXiv:1709.02974, train a U-Net on affinities with a sigmoid at each channel.

Axes: B batch, C channels, K output channels, then D H W for volumes or H W for images.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.data import affinity_targets, balanced_weights, read_channels, shrink_labels
from lean3d.errors import RunError, ShapeError
from lean3d.processes import pooled, pooled_mean, total
from lean3d.tasks.learner import Learner

__all__ = ["Affinities", "AffinityLoss", "affinity_loss"]

AffinityLoss = Literal["ce", "dice", "dice_ce"]
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def affinity_loss(name: str) -> Loss:
    """Cross-entropy of a sigmoid, soft Dice of what is apart, or their sum.

    Called with logits, targets and weights, all (B, K, ...); a voxel of weight 0 does not count.
    """
    losses: dict[str, Loss] = {
        "ce": _cross_entropy,
        "dice": _dice,
        "dice_ce": _both,
    }
    if name not in losses:
        raise RunError(f"no affinity loss called {name!r}; there are ce, dice and dice_ce")
    return losses[name]


def _cross_entropy(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    loss = F.binary_cross_entropy_with_logits(logits.float(), target, weight, reduction="sum")
    return pooled_mean(loss, (weight > 0).sum().clamp(min=1))


def _dice(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Soft Dice of 1 - affinity, pooled over batch and space: boundaries are the rare class."""
    axes = [0, *range(2, logits.ndim)]
    known = (weight > 0).float()
    apart, said = known * (1 - target), known * torch.sigmoid(-logits.float())
    both, either = pooled(torch.stack([(apart * said).sum(axes), (apart + said).sum(axes)]))
    return (1 - (2 * both + 1) / (either + 1)).mean()


def _both(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    return _dice(logits, target, weight) + _cross_entropy(logits, target, weight)


class Affinities(Learner):
    """A network of affinities with its loss and optimizer.

    Logs train_loss, val_loss, val_dice_<channel> and val_dice: the Dice of voxels that are apart
    (affinity below one half, boundary for foreground), over all known voxels of the epoch.

    Args:
        model: (B, C, ...) -> logits (B, K, ...), for images or volumes.
        channels: Names of the K outputs, as `read_channels` takes them.
        loss: ce, dice or dice_ce.
        balance: Weigh both classes of every channel alike in the cross-entropy.
        shrink: Voxels by which instances shrink before targets are made; boundaries get thicker.
        sections: Shrink in the plane only.
        learning: Optimizer, schedule and layout, as `Learner` takes them.
    """

    monitor = "val_dice"

    def __init__(
        self,
        model: nn.Module,
        channels: Sequence[str],
        *,
        loss: AffinityLoss = "ce",
        balance: bool = True,
        shrink: int = 0,
        sections: bool = False,
        **learning: Any,
    ):
        super().__init__(model, **learning)
        self.names, self.channels = list(channels), read_channels(channels)
        self.loss, self.balance = affinity_loss(loss), balance
        self.shrink, self.sections = shrink, sections
        self.sums_3K = torch.zeros(3, len(self.names), dtype=torch.float64)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        x, label = batch
        loss, *_ = self._step(x, label)
        self.log_training("train_loss", loss, len(x))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        x, label = batch
        loss, logits, target, mask = self._step(x, label)
        self.validated(loss, len(x))
        apart, said = (target < 0.5) & mask, (logits < 0) & mask
        axes = [0, *range(2, logits.ndim)]
        counts = [(apart & said).sum(axes), apart.sum(axes), said.sum(axes)]
        self.sums_3K += torch.stack(counts).cpu()

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self.sums_3K = torch.zeros_like(self.sums_3K)

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        both, apart, said = total(self.sums_3K)
        # nan for a channel without anything apart; the mean skips it
        dice_K = (2 * both / (apart + said)).float()
        for name, dice in zip(self.names, dice_K, strict=True):
            self.log(f"val_dice_{name}", dice)
        self.log("val_dice", dice_K.nanmean(), prog_bar=True)

    def _step(self, x: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        dims = cast(Literal[2, 3], label.ndim - 1)
        shrunk = shrink_labels(label, self.shrink, sections=self.sections or dims == 2)
        target, mask = affinity_targets(shrunk, self.channels, dims=dims)
        logits = self(x)
        if logits.shape != target.shape:
            raise ShapeError(
                f"Affinities expects logits {tuple(target.shape)} for channels "
                f"{' '.join(self.names)}, got {tuple(logits.shape)}; the model must keep the size, "
                "one output a channel"
            )
        weight = balanced_weights(target, mask) if self.balance else mask.float()
        return self.loss(logits, target, weight), logits, target, mask
