"""The self-check of a lean network: it must equal the dense network with its fitted kernels."""

from typing import Any

import torch
from torch import Tensor, nn

from lean3d.conversion.record import Check
from lean3d.conversion.surgery.copies import precise_copy
from lean3d.conversion.tolerance import LEAN, in_norm
from lean3d.conversion.trace.compare import tensors
from lean3d.conversion.trace.inputs_3d import run
from lean3d.conversion.trace.tree import mapped
from lean3d.errors import ConversionError

__all__ = ["compare"]


def compare(
    model: nn.Module,
    result: nn.Module,
    kernels: dict[str, Tensor] | None,
    arguments: tuple[Tensor, ...],
) -> tuple[tuple[Check, ...], str]:
    """Compare the lean network with the dense one of fitted kernels, and with the original.

    Args:
        kernels: By path; None if an operator replaces several, which equals no single kernel.

    Raises:
        ConversionError: the outputs differ.
    """
    if any(tensor.is_meta for tensor in model.parameters()):
        return (), "self-check skipped: the model is on the meta device and has no values"
    answers = _answers(model, result, kernels or {}, arguments)
    error, lost = in_norm(answers[1], answers[2]), in_norm(answers[0], answers[2])
    size = tuple(tensors(arguments)[0].shape[2:])
    note = f"the output on {'x'.join(map(str, size))} differs by {lost:.1%} of its norm"
    if kernels is None:
        return (), note
    check = Check("dense network of the fitted kernels", error <= LEAN, error, LEAN, size)
    if not check.passed:
        raise ConversionError(
            f"{type(model).__name__} cannot be converted: its lean form is not the network of its "
            f"fitted kernels ({check}); leave out with where= what reads its weights by itself"
        )
    return (check,), note


def _answers(
    model: nn.Module, result: nn.Module, kernels: dict[str, Tensor], arguments: tuple[Tensor, ...]
) -> list[list[Tensor]]:
    """Outputs of the model, of the model with fitted kernels, and of the result."""
    for dtype in (torch.float64, torch.float32):
        try:
            return [
                _run(precise_copy(network, dtype), arguments, dtype, own)
                for network, own in ((model, {}), (model, kernels), (result, {}))
            ]
        except RuntimeError:  # a forward that calls .float() cannot run in double
            if dtype == torch.float32:
                raise
    raise AssertionError


def _run(
    network: nn.Module, arguments: tuple[Any, ...], dtype: torch.dtype, kernels: dict[str, Tensor]
) -> list[Tensor]:
    for path, kernel in kernels.items():
        conv: Any = network.get_submodule(path)
        conv.weight.copy_(kernel)
    given = mapped(arguments, lambda x: x.to(dtype) if torch.is_floating_point(x) else x)
    return tensors(run(network, given))
