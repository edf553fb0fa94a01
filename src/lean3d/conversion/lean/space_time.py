"""Factorises a 3D convolution into a spatial and a temporal one, by SVD of its kernel.

Papers: Tran et al. (R(2+1)D), arXiv:1711.11248, Sec 3.5; Miao et al. (STDCF), NeurIPS 2021,
Sec 2.1.1
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lean3d.conversion.lean.base import Lean, place
from lean3d.conversion.lean.factor import Spectrum, as_pairs, matricize, tensorize
from lean3d.conversion.lean.ranks import ladder
from lean3d.conversion.methods import register_method
from lean3d.errors import ConversionError
from lean3d.ops import SpaceTimeConv3d
from lean3d.tracer import Args, Kwargs, Watch

__all__ = ["SpaceTime"]


@register_method(
    {"space_time": {}, "rank1": {"form": "rank1"}}, "(1,k,k) and (k,1,1) kernels, by SVD"
)
@dataclass(frozen=True)
class SpaceTime(Lean[SpaceTimeConv3d]):
    """Replace 3D convolutions by a (1, k, k) and a (k, 1, 1) one, fitted by SVD.

    Args:
        form: "2plus1d" has batch norm and ReLU in between; the channels then come in pairs of
            opposite sign, so that the fit is exact in eval mode, and in train mode on inputs like
            the `example` of `convert`, at twice the channels for a rank. "rank1" has neither, and
            one rank for each channel.
        mid_channels: Channels in between; None for the form's default, "full" for an exact fit.
    """

    form: Literal["2plus1d", "rank1"] = "2plus1d"
    mid_channels: int | Literal["full"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form not in ("2plus1d", "rank1"):
            raise ConversionError(f"SpaceTime: form is '2plus1d' or 'rank1', got {self.form!r}")

    def build(self, conv: nn.Conv3d, **like: object) -> SpaceTimeConv3d:
        mid = self._full(conv) if self.mid_channels == "full" else self.mid_channels
        return SpaceTimeConv3d(**self.arguments(conv, like), form=self.form, mid_channels=mid)

    def _full(self, conv: nn.Conv3d) -> int:
        time, height, width = conv.kernel_size
        outputs, inputs = conv.out_channels // conv.groups, conv.in_channels // conv.groups
        rank = min(outputs * time, inputs * height * width)
        return rank * conv.groups * (2 if self.form == "2plus1d" else 1)

    def fill(self, operator: SpaceTimeConv3d, kernel: Tensor, bias: nn.Parameter | None) -> Tensor:
        bends = self.form == "2plus1d"
        rank = operator.mid_channels // operator.groups
        terms = rank // 2 if bends else rank
        left, right = Spectrum(matricize(kernel, 0)).truncate(terms, unit=bends)
        fitted = tensorize(left @ right, 0, kernel.shape)
        if bends:
            left, right = as_pairs(left, right, rank)
            between: Any = operator.between
            pass_through(between[0])
        place(operator.spatial, "weight", right)
        line = left.unflatten(1, (-1, kernel.shape[3])).transpose(2, 3)
        place(operator.temporal, "weight", line)
        place(operator.temporal, "bias", bias)
        return fitted

    def calibrate(self, operators: list[nn.Module], run: Callable[[], object]) -> None:
        keep_identities(operators, run)

    def choices(self, conv: nn.Conv3d) -> list[Lean[SpaceTimeConv3d]]:
        pair = 2 if self.form == "2plus1d" else 1
        ranks = ladder(self._full(conv), pair * conv.groups)
        return [replace(self, mid_channels=rank) for rank in ranks]

    def errors(self, conv: nn.Conv3d, kernel: Tensor, choices: list[Any]) -> list[float]:
        spectrum = Spectrum(matricize(kernel, 0))
        pair = 2 if self.form == "2plus1d" else 1
        return [spectrum.lost(choice.mid_channels // conv.groups // pair) for choice in choices]


def pass_through(norm: nn.BatchNorm3d) -> None:
    """Make a batch norm the identity in eval mode, and in train mode if inputs have variance 1."""
    norm.reset_parameters()
    nn.init.constant_(norm.weight, (1 + norm.eps) ** 0.5)


def keep_identities(operators: list[nn.Module], run: Callable[[], object]) -> None:
    """Keep batch norms in between the identity in train mode too, on the inputs of `run`."""
    between: list[Any] = [op.between for op in operators if isinstance(op, SpaceTimeConv3d)]
    norms = nn.ModuleList(each[0] for each in between if isinstance(each, nn.Sequential))
    _Norms(norms, {path for path, _ in norms.named_children()}).see(run)


class _Norms(Watch):
    @torch.no_grad()
    def entered(self, path: str, args: Args, kwargs: Kwargs) -> None:
        norm: Any = self.modules[path]
        variance, mean = torch.var_mean(args[0], (0, 2, 3, 4), correction=0)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.bias.copy_(mean)
        norm.weight.copy_((variance + norm.eps).sqrt())
