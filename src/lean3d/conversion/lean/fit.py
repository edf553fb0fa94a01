"""Fit a lean operator to one trained 3D convolution.

Papers: PmSCn, arXiv:1809.04096, Eqn 2 and 3; STDCF, NeurIPS 2021, Sec 2.1.
"""

from typing import Any

import torch
from torch import Tensor, nn

from lean3d.conversion.lean.base import Fit, Lean
from lean3d.conversion.lean.dense import check_dense, own_padding
from lean3d.conversion.lean.views import fit_views
from lean3d.conversion.methods import named, names_of
from lean3d.conversion.to3d.base import To3D
from lean3d.conversion.tolerance import in_norm
from lean3d.conversion.unfitted import is_unfitted
from lean3d.errors import ConversionError

__all__ = ["decompose", "distance", "fit"]


def decompose(conv3d: nn.Conv3d, how: Lean | To3D) -> tuple[nn.Module, float]:
    """Fit an operator to a trained kernel; return it and the relative error of its kernel.

    The error is norm(W - W') / norm(W), which is the relative error of the output on white
    noise. It holds in eval mode; a ReLU in between needs more filters, at no loss of accuracy.

    Args:
        how: `SpaceTime` by SVD, `ParallelSeparable` by SVD of its streams (PmSCn Eqn 2 and 3),
            `Atoms` by alternating least squares, `ChannelSeparated` by SVD of each filter;
            `ACS`, `MeanACS`, `SoftACS` and `Planar` by least squares.

    Raises:
        ConversionError: `conv3d` is no plain 3D convolution, or the operator refuses its arguments.
    """
    check_dense(conv3d)
    if conv3d.weight.is_meta:
        raise ConversionError("decompose needs values; the convolution is on the meta device")
    found = fit(conv3d, how)
    module = own_padding(conv3d, found.operator).train(conv3d.training)
    if conv3d.bias is not None:
        # the fitted operator shares it
        names = {name for name, p in module.named_parameters() if p is conv3d.bias}
        for name in names:
            owner, _, last = name.rpartition(".")
            setattr(module.get_submodule(owner), last, nn.Parameter(conv3d.bias.detach().clone()))
    return module, distance(conv3d.weight, found.kernel)


@torch.no_grad()
def fit(conv: nn.Conv3d, how: Lean | To3D) -> Fit:
    """Return the operator on the device of `conv`, its bias the same parameter if it stays one."""
    if not isinstance(how, (Lean, To3D)):
        raise ConversionError(
            f"how must be a lean form, {names_of(Lean)}, or a method from 2D, got {named(how)}"
        )
    try:
        if isinstance(how, Lean) and (conv.weight.is_meta or is_unfitted()):
            found = Fit(how.build(conv, device=conv.weight.device), conv.weight)
        elif isinstance(how, To3D):
            found = fit_views(conv, how)
        else:
            operator = how.build(conv).to_empty(device="cpu")
            kernel = conv.weight.detach().to("cpu", torch.float64)
            grouped = kernel.unflatten(0, (conv.groups, -1))
            bias: Any = conv.bias
            fitted = how.fill(operator, grouped, bias)
            found = Fit(operator, fitted.flatten(0, 1))
    except ConversionError:
        raise
    except ValueError as error:
        raise ConversionError(str(error)) from error
    for parameter in found.operator.parameters():
        if parameter is not conv.bias:
            parameter.requires_grad_(conv.weight.requires_grad)
    return Fit(_moved(found.operator, conv), found.kernel)


def _moved(operator: nn.Module, conv: nn.Conv3d) -> nn.Module:
    alike = conv.weight.device == next(operator.parameters()).device
    return operator if alike else operator.to(conv.weight.device)


def distance(weight: Tensor, fitted: Tensor) -> float:
    """Return the norm of the difference over the norm of the weight."""
    wanted = weight.detach().to("cpu", torch.float64)
    return in_norm([wanted], [fitted])
