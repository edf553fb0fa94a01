"""Parts of networks that give features of frames, and score them by a head."""

from torch import nn

from lean3d.errors import RunError

__all__ = ["frame_head"]


def frame_head(model: nn.Module) -> nn.Module:
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
