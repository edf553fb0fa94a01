"""Train a recurrent head on features computed before: stage two of D3D.

Paper: Köpüklü et al., Dissected 3D CNNs (D3D), arXiv:2009.14639, Sec 3.2 and 3.3

Axes: B batch, F features, T time, K classes.
"""

from typing import Any

from torch import Tensor, nn

from lean3d.errors import RunError
from lean3d.tasks.classification import Classification

__all__ = ["Recurrence", "parts"]


class Recurrence(Classification):
    """Trains the head alone; batches hold features (B, F, T), and the rest of the model is frozen.

    Args:
        model: With `features`, (B, C, T, H, W) -> (B, F, T), and `head`, (B, F, T) -> (B, K).
        settings: As `Classification` takes them.
    """

    def __init__(self, model: nn.Module, num_classes: int, **settings: Any):
        head = parts(model)
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        for parameter in head.parameters():
            parameter.requires_grad_(True)
        super().__init__(model, num_classes, **settings)

    def units(self) -> list[nn.Module]:
        return [parts(self.model)]

    def forward(self, x_BFT: Tensor) -> Tensor:
        return parts(self.model)(x_BFT)


def parts(model: nn.Module) -> nn.Module:
    """Return the head of a model that gives features of frames.

    Raises:
        RunError: the model has no such parts.
    """
    head = getattr(model, "head", None)
    if not callable(getattr(model, "features", None)) or not isinstance(head, nn.Module):
        raise RunError(
            f"{type(model).__name__} does not part into features of frames and a head; use a "
            "D-ResNet (d_resnet_18, ...)"
        )
    return head
