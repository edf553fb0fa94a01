"""Count the cost of a model without running it. The definitions are in `Cost` and `profiles`.

The actual computation is counted: an operator that rebuilds its kernel and convolves once costs
that, not the stages its paper describes.
"""

from collections.abc import Iterator, Sequence
from operator import index
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.cost.memory import tensor_bytes, training_peak
from lean3d.cost.meta import meta_copy, meta_inputs
from lean3d.cost.profiles import Profile, rules
from lean3d.cost.result import Cost, LayerCost
from lean3d.cost.tally import Row, Tally, tensor_shapes
from lean3d.errors import LeanError, ShapeError
from lean3d.typed import check_kind, shortened
from lean3d.weights import check_sizes_known

__all__ = ["count"]

# inputs, or axes of one
MOST = 64
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)


def count(
    model: nn.Module,
    input_shape: Sequence[int] | Sequence[Sequence[int]],
    *,
    profile: Profile = "macs",
    training: bool = False,
) -> Cost:
    """Return the cost of one inference pass of `model`, on meta tensors, without computing values.

    Args:
        input_shape: Batch included, such as (1, 3, 8, 224, 224); several shapes for several inputs.
        profile: The operations counted: "macs" for all multiply-adds; "csn", "thop" and
            "thop_fc_macs" for the counts those papers print (see lean3d.cost.profiles).
        training: Trace a backward pass too, for the peak memory of training.

    Raises:
        ShapeError: the model cannot run on inputs of that shape; names the module that failed.
        LeanError: the model cannot be copied, or needs values that meta tensors do not have.
    """
    check_kind("count", model, nn.Module, "an nn.Module")
    check_kind("count", profile, str, "the name of a profile such as 'macs'")
    counted = rules(profile)
    shapes = _shapes(input_shape)
    check_sizes_known("count", model)
    copied = meta_copy(model)
    inputs = meta_inputs(copied, shapes)
    tally = Tally(counted, copied)
    _run(inputs, tally)
    return _cost(copied, inputs, tally, profile, training)


def _shapes(given: Sequence[Any]) -> tuple[tuple[int, ...], ...]:
    sizes: tuple[tuple[int, ...], ...] = ()
    # a tensor counts as no shape, and could have millions of rows
    if isinstance(given, Sequence) and 0 < len(given) <= MOST:
        shapes = given if isinstance(given[0], Sequence) else [given]
        try:
            sizes = tuple(tuple(index(size) for size in shape) for shape in shapes)
        except TypeError:
            sizes = ()
    if not sizes or any(min(shape, default=0) < 1 for shape in sizes):
        raise ShapeError(
            f"count needs an input shape such as (1, 3, 8, 224, 224), all sizes positive, or "
            f"several such shapes, got {shortened(given)}"
        )
    return sizes


def _run(inputs: list[Tensor], tally: Tally) -> None:
    try:
        with torch.no_grad(), torch.device("meta"):
            tally.run(inputs)
    except Exception as error:
        raise _failure(error, tally.failed) from error


def _failure(error: Exception, row: Row) -> LeanError:
    where = f"{row.path} ({row.type})" if row.path else f"the model ({row.type})"
    got = ", ".join(map(str, row.input_shapes)) or "no tensor"
    why = (str(error) or type(error).__name__).splitlines()[0]
    if "meta" in why or "item()" in why or isinstance(error, NotImplementedError):
        return LeanError(
            f"count cannot follow {where} on input {got}: it needs the values of a tensor and "
            f"count works on shapes alone; {why}"
        )
    return ShapeError(f"count: {where} cannot run on input {got}: {why}")


def _cost(
    model: nn.Module, inputs: list[Tensor], tally: Tally, profile: str, training: bool
) -> Cost:
    layers = tuple(_layers(model, tally.rows))
    parameters = list(model.parameters())
    return Cost(
        profile=profile,
        input_shapes=tuple(tensor_shapes(inputs)),
        params=sum(p.numel() for p in parameters),
        weights=_weights(model),
        macs=sum(layer.macs for layer in layers),
        interactions=sum(layer.interactions for layer in layers),
        activation_bytes=sum(layer.activation_bytes for layer in layers),
        peak_activation_bytes=tally.memory.peak,
        training_peak_bytes=training_peak(model, inputs) if training else None,
        moved_bytes=sum(layer.moved_bytes for layer in layers),
        model_bytes=tensor_bytes(parameters),
        buffer_bytes=tensor_bytes(list(model.buffers())),
        layers=layers,
    )


def _layers(model: nn.Module, rows: dict[str, Row]) -> Iterator[LayerCost]:
    """Return layers in the order they ran, then modules that did not run but have parameters."""
    modules = dict(model.named_modules())
    own = _own_params(modules)
    for path in [*rows, *(path for path in modules if own[path] and path not in rows)]:
        row = rows.get(path) or Row(path, type(modules[path]).__name__, [])
        counts = row.macs, row.interactions, row.activation_bytes, row.moved_bytes
        yield LayerCost(path, row.type, row.output_shape, own[path], *counts)


def _own_params(modules: dict[str, nn.Module]) -> dict[str, int]:
    seen: set[int] = set()
    own = dict.fromkeys(modules, 0)
    for path, module in modules.items():
        for parameter in module.parameters(recurse=False):
            own[path] += parameter.numel() * (id(parameter) not in seen)
            seen.add(id(parameter))
    return own


def _weights(model: nn.Module) -> int:
    """Count parameters with two axes or more, outside norms: kernels, matrices, coefficients."""
    weights = {
        id(parameter): parameter.numel()
        for module in model.modules()
        if not isinstance(module, NORMS)
        for parameter in module.parameters(recurse=False)
        if parameter.ndim > 1
    }
    return sum(weights.values())
