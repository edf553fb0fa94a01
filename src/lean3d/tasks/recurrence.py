"""Train a recurrent head on features computed before: stage two of D3D.

Paper: Köpüklü et al., Dissected 3D CNNs (D3D), arXiv:2009.14639, Sec 3.2 and 3.3

Axes: B batch, F features, T time, K classes.
"""

from typing import Any

from torch import Tensor, nn

from lean3d.models.heads import frame_head
from lean3d.tasks.classification import Classification

__all__ = ["Recurrence"]


class Recurrence(Classification):
    """Trains the head alone; batches hold features (B, F, T), and the rest of the model is frozen.

    Args:
        model: With `features`, (B, C, T, H, W) -> (B, F, T), and `head`, (B, F, T) -> (B, K).
        settings: As `Classification` takes them.
    """

    def __init__(self, model: nn.Module, num_classes: int, **settings: Any):
        head = frame_head(model)
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        for parameter in head.parameters():
            parameter.requires_grad_(True)
        super().__init__(model, num_classes, **settings)

    def units(self) -> list[nn.Module]:
        return [frame_head(self.model)]

    def forward(self, x_BFT: Tensor) -> Tensor:
        return frame_head(self.model)(x_BFT)
