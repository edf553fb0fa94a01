"""Refuse invalid weights, by name: before a network takes them, or one is used."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lean3d.errors import DataError, LeanError

__all__ = ["check_model", "check_sizes_known", "check_tensors", "check_weights"]

NEGATIVE = "a negative variance"


def check_tensors(path: str | Path, tensors: Mapping[str, Any]) -> None:
    """Refuse tensors that are not plain with values: sparse, quantised, nested, complex, meta.

    Raises:
        DataError: names the first of them, and the file.
    """
    for name, value in tensors.items():
        if kind := _odd(value):
            raise DataError(
                f"{path}: {name} is {kind} and not a plain tensor of real numbers; save the "
                "weights of the network as it is in training"
            )


def check_weights(
    path: str | Path, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> None:
    """Refuse values that a network of these tensors would not compute with as they are.

    Args:
        tensors: The network's new tensors, by its own names.
        expected: The network's own tensors, for their types.

    Raises:
        DataError: a tensor holds NaN or infinity, a variance below 0, or integers or booleans where
            the network has floats; names it, and the file.
    """
    check_tensors(path, tensors)
    for name, value in tensors.items():
        if not value.is_floating_point():
            if expected[name].is_floating_point():
                kind = str(value.dtype).removeprefix("torch.")
                raise DataError(
                    f"{path}: {name} has values of type {kind} where the network has real numbers; "
                    "save the weights as float32"
                )
            continue
        _check_values(path, name, value)


def _check_values(path: str | Path, name: str, value: Tensor) -> None:
    kind, count = _wrong(name, value)
    if kind == NEGATIVE:
        raise DataError(
            f"{path}: {name} holds {float(value.float().min()):g}, and a variance is 0 or more; "
            "the file is damaged, or of another network"
        )
    if kind:
        raise DataError(
            f"{path}: {name} holds {kind} in {count:,} of its {value.numel():,} values: the "
            "training diverged, or the file is damaged; take an earlier checkpoint"
        )


def _wrong(name: str, x: Tensor, *, infinite: bool = False) -> tuple[str, int]:
    """Return what no network computes with, and how many values are so; "" if none is.

    Args:
        infinite: Infinity is right, as in a mask.
    """
    # 8-bit floats have no arithmetic of their own
    x = x.detach() if x.element_size() > 1 else x.detach().float()
    # a sum that is finite has finite terms, and takes a tenth of the time of looking at each
    if not bool(x.sum().isfinite()):
        bad = x.isnan() if infinite else ~x.isfinite()
        if bool(bad.any()):
            return "NaN" if bool(x.isnan().any()) else "infinity", int(bad.sum())
    if name.endswith("running_var") and bool((x < 0).any()):
        return NEGATIVE, int((x < 0).sum())
    return "", 0


def check_sizes_known(who: str, model: nn.Module, error: type[LeanError] = LeanError) -> None:
    """Refuse a network whose lazy layers have not met an input yet.

    Raises:
        LeanError: or the class given; names the first of them.
    """
    for path, module in model.named_modules():
        if any(map(is_lazy, [*module._parameters.values(), *module._buffers.values()])):
            layer = f"{path} ({type(module).__name__})" if path else f"the {type(module).__name__}"
            raise error(
                f"{who}: {layer} has weights without sizes until it has met an input; call the "
                "model once on one"
            )


def check_model(
    who: str, model: nn.Module, error: type[LeanError] = LeanError, *, meta: bool = False
) -> None:
    """Refuse a network whose weights are not finite, or are complex.

    Args:
        who: Name in the message.
        error: Class of the error.
        meta: Accept weights on the meta device.

    Raises:
        LeanError: names the tensor, and the share of it that is wrong.
    """
    check_sizes_known(who, model, error)
    buffers = dict(model.named_buffers())
    for name, x in [*model.named_parameters(), *buffers.items()]:
        if x.is_meta and not meta:
            raise error(f"{who}: {name} is on the meta device and has no values; load weights")
        whole = not x.is_floating_point() and name.endswith(("weight", "bias"))
        if x.is_complex() or (whole and x.layout == torch.strided):
            kind = str(x.dtype).removeprefix("torch.")
            raise error(f"{who}: {name} is of type {kind}, and a network has real weights")
        if x.is_meta or not x.is_floating_point() or x.layout != torch.strided:
            continue
        kind, count = _wrong(name, x, infinite=name in buffers)
        if kind:
            raise error(
                f"{who}: the model's weights are wrong: {name} holds {kind} in {count:,} of its "
                f"{x.numel():,} values, so that its outputs are no numbers; load other weights"
            )


def _odd(value: Any) -> str:
    """Describe the problem of a value; empty for a plain tensor of real numbers."""
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    kinds = {
        "nested": value.is_nested,
        "sparse": value.layout != torch.strided,
        "quantised": value.is_quantized,
        "on the meta device, without values,": value.is_meta,
        "complex": value.is_complex(),
    }
    return next((kind for kind, so in kinds.items() if so), "")
