"""Copies of a 2D model for the self-check: precise, in eval mode, with weights that matter."""

import torch
from torch import Tensor, nn

from lean3d.convert.rewrite import duplicate

__all__ = ["precise_copy", "without_tiny_gains"]

TINY = 1e-2


def precise_copy(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy in eval mode and `dtype`, without the user's hooks, which may have side effects."""
    copy = duplicate(model)
    for module in copy.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            for key in [key for key, hook in hooks.items() if not _belongs_to_torch(hook)]:
                del hooks[key]
    on_mps = any(tensor.device.type == "mps" for tensor in copy.parameters())
    copy = copy.to("cpu") if on_mps and dtype == torch.float64 else copy
    return copy.to(dtype).eval().requires_grad_(False)


def _belongs_to_torch(hook: object) -> bool:
    """Weight norm, spectral norm and pruning compute weights in hooks; these must stay."""
    owner = getattr(hook, "__module__", None) or type(hook).__module__
    return owner.startswith("torch.")


def without_tiny_gains(model: nn.Module) -> bool:
    """Give random values to parameters that are zero or tiny, so that no branch is silent.

    A last norm starting at zero or a layer scale of 1e-6 would hide whatever their branch gets
    wrong. Returns whether there were any.
    """
    generator = torch.Generator().manual_seed(1)
    found = False
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and parameter.numel() and parameter.abs().max() < TINY:
            parameter.copy_(_telling(name, parameter, generator))
            found = True
    return found


def _telling(name: str, like: Tensor, generator: torch.Generator) -> Tensor:
    if name.endswith("bias"):
        return 0.1 * torch.randn(like.shape, generator=generator)
    sides = [side for side in like.shape if side > 1]
    if len(sides) < 2:  # a gain per channel
        return 0.5 + torch.rand(like.shape, generator=generator)
    return torch.randn(like.shape, generator=generator) / like[0].numel() ** 0.5
