"""What a module of a lighter network is, as text that a recipe can hold, and the module itself."""

import ast
import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.conversion.lean.base import Lean
from lean3d.conversion.lean.dense import is_dense_or_causal, own_padding, resized, settings
from lean3d.conversion.lean.fit import fit
from lean3d.conversion.methods import METHODS
from lean3d.conversion.surgery.take_over import take_over
from lean3d.conversion.to3d.base import To3D
from lean3d.errors import LeanError
from lean3d.ops.inflated import InflatedConvTranspose3d

__all__ = [
    "Cut",
    "Form",
    "blank",
    "fitted",
    "kept_norm",
    "narrow",
    "read_cut",
    "restructure",
    "sized",
]

Form = Lean | To3D
SIZES = "inputs", "outputs"
# a network that is one convolution, as text
ROOT = "."


@dataclass(frozen=True)
class Cut:
    """What replaces one module.

    Args:
        path: Of the module.
        how: The form of the convolution; None if it stays dense.
        inputs, outputs: Channels that are left; None for all of them. Of a norm, the outputs.
        first: Of the last of several convolutions that become one operator: path of the first.
        gone: The module is removed, because that operator computes it.
    """

    path: str
    how: Form | None = None
    inputs: int | None = None
    outputs: int | None = None
    first: str = ""
    gone: bool = False

    def __str__(self) -> str:
        words = [self.path or ROOT]
        words += [f"{n}={getattr(self, n)}" for n in SIZES if getattr(self, n) is not None]
        words += [f"first={self.first}"] if self.first else []
        words += ["gone"] if self.gone else []
        if self.how is not None:
            words.append(type(self.how).__name__)
            how: Any = self.how
            given = {field.name: getattr(how, field.name) for field in fields(how)}
            usual = vars(type(self.how)())
            words += [f"{n}={_text(v)}" for n, v in given.items() if v != usual.get(n)]
        return " ".join(words)

    @property
    def changes(self) -> bool:
        """Whether the module is another one afterwards."""
        return self.gone or (self.how, self.inputs, self.outputs) != (None,) * 3

    @property
    def what(self) -> str:
        """The form and the channels, for people."""
        if self.gone:
            return "removed"
        words = ["dense"] if self.how is None else str(replace(self, first="")).split()[1:]
        words = [word for word in words if word.partition("=")[0] not in SIZES]
        sizes = [f"{n} {getattr(self, n)}" for n in SIZES if getattr(self, n) is not None]
        return ", ".join([" ".join(words), *sizes])


def read_cut(text: str) -> Cut:
    """Return the cut that its text describes.

    Raises:
        LeanError: quotes the text, and says what is wrong with it.
    """
    words = text.split()
    path = words[0] if words else ""
    given: dict[str, Any] = {}
    kind: Any = None
    own: dict[str, Any] = {}
    for word in words[1:]:
        name, equals, value = word.partition("=")
        if equals and kind is not None:
            own[name] = _value(value)
        elif equals and name in SIZES and value.isdecimal() and int(value):
            given[name] = int(value)
        elif equals and name == "first" and value:
            given[name] = value
        elif word == "gone":
            given[word] = True
        elif not equals and kind is None and name in _forms():
            kind = _forms()[name]
        else:
            raise _refuse(text, f"{word!r} is no size, and no form of {', '.join(_forms())}")
    try:
        how = None if kind is None else kind(**own)
    except (TypeError, LeanError) as error:
        raise _refuse(text, str(error)) from error
    if not path or not (given or how):
        raise _refuse(text, "it names no module, or nothing to make of it")
    return Cut("" if path == ROOT else path, how, **given)


def _refuse(text: str, why: str) -> LeanError:
    return LeanError(f"the cut {text[:80]!r} cannot be read: {why}")


def _forms() -> dict[str, type]:
    kinds = {method.kind for method in METHODS.values()}
    return {k.__name__: k for k in sorted(kinds, key=str) if issubclass(k, (Lean, To3D))}


def _text(value: object) -> str:
    return value if isinstance(value, str) else repr(value).replace(" ", "")


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def restructure(model: nn.Module, cuts: Iterable[Cut]) -> nn.Module:
    """Give a network the modules of the cuts, in place, with weights of their own initialisation.

    They are made in order: those of a network that was lightened twice follow each other.

    Raises:
        LeanError: the network has no such module, or another one than the cut is made for.
    """
    modules = dict(model.named_modules())
    for cut in cuts:
        if cut.path not in modules:
            # an earlier cut may have made it
            modules = dict(model.named_modules())
        first = modules.get(cut.first) if cut.first else None
        if cut.path not in modules or (cut.first and not is_dense_or_causal(first)):
            raise LeanError(
                f"{type(model).__name__} has no {cut.first or cut.path} to cut; use the network "
                "that the cuts were chosen for"
            )
        module = modules[cut.path]
        take_over(module, blank(module, cut, first))
    return model


def blank(module: Any, cut: Cut, first: Any = None) -> nn.Module:
    """Return the module of a cut, with weights of its own initialisation.

    Args:
        first: Of several convolutions that become one operator, the first one.
    """
    if cut.gone:
        return nn.Identity()
    if isinstance(module, nn.Linear | nn.ConvTranspose3d):
        if cut.how is not None:
            raise LeanError(f"{cut.path} is no convolution; it cannot become {cut.what}")
        return sized(module, cut.inputs, cut.outputs, device=module.weight.device)
    if not is_dense_or_causal(module):
        return kept_norm(module, range(cut.outputs or 0))
    like: dict[str, Any] = dict(device=module.weight.device, dtype=module.weight.dtype)
    try:
        conv = _resized(first if first is not None else module, cut, module.out_channels)
        if cut.how is None:
            return resized(conv, conv.in_channels, conv.out_channels, **like)
        more: dict[str, Any] = {} if first is None else {"bias": True}
        if isinstance(cut.how, To3D):
            operator: nn.Module = cut.how.operator({**settings(conv), **like})
        else:
            operator = cut.how.build(conv, **like, **more)
    except (ValueError, RuntimeError) as error:
        raise LeanError(f"{cut.path} cannot become {cut.what}: {error}") from error
    return own_padding(conv, operator)


def _resized(conv: Any, cut: Cut, outputs: int) -> Any:
    """Return a convolution with the sizes of a cut, without weights of its own."""
    if cut.inputs is None and cut.outputs is None and outputs == conv.out_channels:
        return conv
    sizes = cut.inputs or conv.in_channels, cut.outputs or outputs
    return resized(conv, *sizes, device="meta", dtype=conv.weight.dtype)


def sized(kernel: Any, inputs: int | None, outputs: int | None, **like: Any) -> Any:
    """Return a linear layer, or a dense or transposed convolution, of other sizes; None keeps."""
    given: dict[str, Any] = dict(dtype=kernel.weight.dtype) | like
    if isinstance(kernel, nn.Linear):
        sizes = inputs or kernel.in_features, outputs or kernel.out_features
        return nn.Linear(*sizes, kernel.bias is not None, **given)
    sizes = inputs or kernel.in_channels, outputs or kernel.out_channels
    if not isinstance(kernel, nn.ConvTranspose3d):
        return resized(kernel, *sizes, **given)
    names = "kernel_size", "stride", "padding", "output_padding", "dilation", "padding_mode"
    given |= {name: getattr(kernel, name) for name in names}
    kinds = InflatedConvTranspose3d, nn.ConvTranspose3d
    kind = next(kind for kind in kinds if isinstance(kernel, kind))
    return kind(*sizes, groups=kernel.groups, bias=kernel.bias is not None, **given)


@torch.no_grad()
def narrow(kernel: Any, inputs: Sequence[int] | None, outputs: Sequence[int] | None) -> Any:
    """Return a copy of a convolution or a linear layer with these of its channels; None keeps all.

    A transposed convolution has its inputs first in its weight, the others their outputs. Of one in
    groups, whole groups are left, and the inputs and outputs are theirs.
    """
    if inputs is None and outputs is None:
        return copy.deepcopy(kernel)
    weight, bias = kernel.weight.detach(), kernel.bias
    turned = isinstance(kernel, nn.ConvTranspose3d)
    weight = weight.transpose(0, 1) if turned else weight
    if outputs is not None:
        weight = weight[list(outputs)]
        bias = None if bias is None else bias.detach()[list(outputs)]
    if inputs is not None and getattr(kernel, "groups", 1) == 1:
        weight = weight[:, list(inputs)]
    made = sized(kernel, None if inputs is None else len(inputs), len(weight), device="meta")
    made.weight = nn.Parameter((weight.transpose(0, 1) if turned else weight).clone())
    made.bias = None if bias is None else nn.Parameter(bias.detach().clone())
    return made


def fitted(conv: nn.Conv3d, how: Form | None) -> nn.Module:
    """Return the form of a convolution, fitted to its kernel; it shares nothing with it."""
    own = copy.deepcopy(conv)
    return own if how is None else own_padding(own, fit(own, how).operator)


@torch.no_grad()
def kept_norm(norm: Any, channels: Sequence[int]) -> nn.Module:
    """Return a norm, or a PReLU, of some of the channels; a module without channels as it is.

    Of a group norm, whole groups are left.
    """
    names = "num_features", "num_channels", "num_parameters"
    name = next((n for n in names if hasattr(norm, n)), None)
    # a PReLU may have one slope for all channels
    if name is None or getattr(norm, "num_parameters", 0) == 1:
        return copy.deepcopy(norm)
    size = getattr(norm, name)
    if not channels:
        raise LeanError(f"a cut of {type(norm).__name__} names the outputs that it keeps")
    if max(channels) >= size:
        raise LeanError(
            f"a cut keeps {len(channels)} channels of a {type(norm).__name__} that has "
            f"{size}; use the network that the cuts were chosen for"
        )
    made = copy.deepcopy(norm)
    setattr(made, name, len(channels))
    if isinstance(made, nn.GroupNorm):
        each = size // made.num_groups
        if len(channels) % each:
            raise LeanError(
                f"a cut keeps {len(channels)} channels of a group norm's groups of {each}"
            )
        made.num_groups = len(channels) // each
    where = torch.as_tensor(list(channels))
    for held in (made._parameters, made._buffers):
        for name, value in held.items():
            if isinstance(value, Tensor) and value.ndim == 1:
                taken = value.detach()[where.to(value.device)].clone()
                parameter = isinstance(value, nn.Parameter)
                held[name] = nn.Parameter(taken, value.requires_grad) if parameter else taken
    return made
