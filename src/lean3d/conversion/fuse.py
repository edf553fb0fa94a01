"""`fold`: return an equivalent model for faster inference.

Unrelated to merging depth into other axes, which lets 2D forwards run on volumes.

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.conversion.lean.dense import is_dense, refusal, settings
from lean3d.conversion.surgery.copies import duplicate, precise_copy
from lean3d.conversion.surgery.subclass import own_class
from lean3d.conversion.surgery.take_over import take_over
from lean3d.conversion.tolerance import FOLDED, LEAN, largest
from lean3d.conversion.trace.compare import tensors
from lean3d.conversion.trace.graph import Flow, Node, trace
from lean3d.conversion.trace.inputs_3d import example_for, run
from lean3d.conversion.trace.tree import copies
from lean3d.errors import ConversionError
from lean3d.ops.base import Conv3dLike
from lean3d.ops.dense import DenseConv3d
from lean3d.ops.inflated import InflatedConv3d
from lean3d.ops.kernel import KernelConv3d
from lean3d.tracer import Args, Kwargs, Watch

__all__ = ["fold"]

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
TORCHS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


@torch.no_grad()
def fold(model: nn.Module, *, example: object = None) -> nn.Module:
    """Return the fastest copy for inference: batch norms fused, kernels materialised.

    A batch norm that is the only reader of a convolution is fused into its weights. Kernels that
    are mixed at every call (`AtomConv3d`, `MeanACSConv3d`, `SoftACSConv3d`, and `ACSConv3d` where
    one dense convolution was measured faster) are mixed once; all dense ones take the faster path
    for one small sample. The copy is in eval mode and requires no gradients; its output on the
    example is compared with the model's before it is returned.

    Args:
        example: An input of the model, or a tuple of its arguments; without it several are tried.

    Raises:
        ConversionError: no input was found on which the model runs, or the outputs differ.
    """
    if not isinstance(model, nn.Module) or isinstance(model, torch.jit.ScriptModule):
        raise ConversionError(
            f"fold takes a torch.nn.Module that is not compiled, got {type(model).__name__}"
        )
    result = duplicate(model).eval().requires_grad_(False)
    arguments = example_for(result, example)
    if arguments is None:
        raise ConversionError(
            f"fold: no input was found on which {type(model).__name__} runs; pass example="
        )
    flow = trace(result, arguments)
    pairs = [pair for call in flow.calls if (pair := _pair(flow, result, call)) is not None]
    for conv, norm in _equal(result, pairs, arguments):
        _absorb(conv, norm)
        _leave_out(norm)
    for module in list(result.modules()):
        if (dense := _materialised(module)) is not None:
            take_over(module, dense)
    _check(model, result, arguments)
    return result


@dataclass(frozen=True)
class Pair:
    """A layer with a weight, and the batch norm that is its only reader; both are called once."""

    path: str
    layer: Any
    norm: Any

    @property
    def known(self) -> bool:
        """Whether the code of both is known; else they are compared with the fused layer."""
        return _scales(self.layer) and own_class(self.norm).forward is nn.BatchNorm3d.forward


def _pair(flow: Flow, model: nn.Module, call: Node) -> Pair | None:
    weight = None if call.module is None else call.module._parameters.get("weight")
    if weight is None or weight.ndim < 2 or len(call.users) != 1:
        return None
    after = flow.calls[call.users[0]]
    own = not after.path and after.name == "batch_norm"  # of a norm that has code of its own
    path = after.owner if own else after.path
    norm = model.get_submodule(path)
    if (
        not isinstance(norm, NORMS)
        or norm.running_var is None
        or len(norm.running_var) != len(weight)
    ):
        return None
    once = _times(flow, call.path) == 1
    once &= (
        sum(each.name == "batch_norm" and each.owner == path for each in flow.calls) == 1
        if own
        else _times(flow, path) == 1
    )
    return Pair(call.path, call.module, norm) if once else None


def _times(flow: Flow, path: str) -> int:
    return sum(call.path == path for call in flow.calls)


def _equal(
    model: nn.Module, pairs: list[Pair], arguments: tuple[Tensor, ...]
) -> list[tuple[Any, Any]]:
    """Return the layers and norms whose output one fused layer gives."""
    unknown = {pair.path: pair for pair in pairs if not pair.known}
    fit: set[str] = set()
    if unknown:
        watch = _Fused(model, unknown)
        watch.see(lambda: run(model, arguments))
        fit = watch.fit
    return [(pair.layer, pair.norm) for pair in pairs if pair.known or pair.path in fit]


class _Fused(Watch):
    """Runs fused copies of layers on the inputs of the layers."""

    def __init__(self, model: nn.Module, pairs: dict[str, Pair]):
        super().__init__(model, set(pairs))
        self.pairs, self.fit = pairs, set[str]()

    def left(self, path: str, args: Args, kwargs: Kwargs, output: object) -> None:
        layer, norm = copy.deepcopy((self.pairs[path].layer, self.pairs[path].norm))
        wanted = norm.forward(output)
        _absorb(layer, norm)
        _leave_out(norm)
        got = norm.forward(layer.forward(*args, **kwargs))
        if largest(wanted, got) <= LEAN:
            self.fit.add(path)


def _leave_out(norm: nn.Module) -> None:
    """Leave of a batch norm the modules that it calls after it, in their order."""
    rest = list(norm.children())
    take_over(norm, nn.Sequential(*rest) if rest else nn.Identity())
    if not rest:
        norm.__class__ = nn.Identity  # it needs no depth, wherever it is called


def _scales(module: Any) -> bool:
    """Whether each output can be scaled in the weights."""
    if is_dense(module):
        return not refusal(module)
    if not isinstance(module, nn.Module) or "weight" not in module._parameters:
        return False
    kind = own_class(module)
    ours = isinstance(module, KernelConv3d) and kind.forward is Conv3dLike.forward
    return ours or kind in TORCHS


def _absorb(conv: Any, norm: Any) -> None:
    """Fuse the affine map of a batch norm in eval mode into the weights of the layer before it."""
    gain = (norm.running_var + norm.eps).rsqrt()
    gain = gain if norm.weight is None else gain * norm.weight
    shift = -norm.running_mean * gain
    shift = shift if norm.bias is None else shift + norm.bias
    weight = conv.weight
    scaled = weight * gain.view(-1, *[1] * (weight.ndim - 1))
    bias = shift if conv.bias is None else shift + conv.bias * gain
    # new parameters, as the weight may be shared with another module
    conv.weight = nn.Parameter(scaled.to(weight.dtype), requires_grad=False)
    conv.bias = nn.Parameter(bias.to(weight.dtype), requires_grad=False)


def _materialised(module: Any) -> nn.Module | None:
    """Return the materialised kernel of an operator that mixes one at every call, else None."""
    mixes = isinstance(module, KernelConv3d) and module.mixes_kernel
    plain = is_dense(module) and not isinstance(module, InflatedConv3d)
    if not mixes and not (plain and not refusal(module)):
        return None
    kernel: Tensor = module.weight if plain else module.dense_weight()
    dilated = getattr(module, "spread", module.dilation)
    if tuple(kernel.shape[2:]) != module.kernel_size or dilated != module.dilation:
        return None
    dense = DenseConv3d(**settings(module), device="meta", dtype=kernel.dtype)
    dense.weight = nn.Parameter(kernel, requires_grad=False)
    dense.bias = module.bias
    return dense


def _check(model: nn.Module, result: nn.Module, arguments: tuple[Tensor, ...]) -> None:
    given = [x.double() if x.is_floating_point() else x for x in arguments]
    dtype = torch.float64
    try:
        expected = precise_copy(model, dtype)(*copies(given))
    except RuntimeError:  # a forward that calls .float() cannot run in double
        dtype, given = torch.float32, list(arguments)
        expected = precise_copy(model, dtype)(*copies(given))
    try:
        found = precise_copy(result, dtype)(*copies(given))
    except Exception as error:  # a user's forward may raise anything
        raise ConversionError(
            f"fold cannot fuse {type(model).__name__}: it then stops with {type(error).__name__} "
            f"({error}); something reads the weights or norms by itself"
        ) from error
    ways = tensors(expected), tensors(found)
    for wanted, got in zip(*ways, strict=True):
        if (missed := largest(wanted, got)) > FOLDED:
            raise ConversionError(
                f"fold cannot fuse {type(model).__name__}: its output would change by {missed:.1e} "
                "of its largest value; something reads the weights or norms by itself"
            )
