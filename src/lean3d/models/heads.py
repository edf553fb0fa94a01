"""Heads of networks: what scores features, and the features that it is given.

Axes: N samples, B batch, D slices, C features.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from lean3d.errors import RunError

__all__ = ["frame_head", "head_features", "score_head"]


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


def score_head(model: nn.Module, num_outputs: int) -> nn.Module:
    """Return the last linear layer, or convolution, of a classifier with as many outputs.

    Raises:
        RunError: the model has none.
    """
    for module in reversed(list(model.modules())):
        sizes = getattr(module, "out_features", None), getattr(module, "out_channels", None)
        if num_outputs in sizes and isinstance(getattr(module, "weight", None), Tensor):
            return module
    raise RunError(
        f"{type(model).__name__} has no last layer of {num_outputs} outputs, whose inputs would be "
        "its features; end it in a linear layer or a convolution"
    )


@torch.inference_mode()
def head_features(
    model: nn.Module, head: nn.Module, batches: Iterable[Tensor], device: torch.device | str
) -> Tensor:
    """Return what the head of a network is given, averaged over positions: (N, C), on the CPU.

    Args:
        head: A linear layer, whose features are along the last axis, or a convolution, along the
            second. Slices of a volume may be a batch of their own, (B * D, C, ...).
        batches: Inputs of the network, (B, ...) each.
    """
    given: list[Tensor] = []

    def keep(head: nn.Module, args: tuple[Tensor, ...]) -> None:
        given[:] = args[:1]

    model, axis = model.to(device).eval(), -1 if isinstance(head, nn.Linear) else 1
    handle, found = head.register_forward_pre_hook(keep), []
    try:
        for x in batches:
            model(x.to(device))
            features = given[0].movedim(axis, -1)
            found.append(features.reshape(len(x), -1, features.shape[-1]).mean(1).cpu())
    finally:
        handle.remove()
    return torch.cat(found)
