"""Factorises a 3D convolution into parallel streams of 2D and 1D ones, by SVD of its kernel.

Paper: Gonda et al. (PmSCn), arXiv:1809.04096, Sec 3.1
Differs from the paper: the separable terms of Eqn 2 and 3 are found jointly for all filters of a
layer, which share their 2D filters, and refined by alternation, not filter by filter.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lean3d.conversion.lean.base import Lean, place
from lean3d.conversion.lean.factor import Spectrum, as_pairs, matricize, tensorize
from lean3d.conversion.lean.joined import fit_joined
from lean3d.conversion.lean.ranks import ladder
from lean3d.conversion.lean.runs import Run
from lean3d.conversion.methods import register_method
from lean3d.errors import ConversionError
from lean3d.ops import ParallelSeparableConv3d

__all__ = ["ParallelSeparable"]

SWEEPS, GAIN = 20, 1e-4
FEW = 8  # a sum is fitted again at each rank


NAMES = {
    f"p{streams}sc{depth}": {"streams": streams, "depth": depth}
    for streams in (1, 2, 3)
    for depth in (1, 2)
}


@register_method(NAMES, "parallel streams of 2D, ReLU, 1D (PmSCn)")
@dataclass(frozen=True)
class ParallelSeparable(Lean[ParallelSeparableConv3d]):
    """Replace 3D convolutions by parallel streams of 2D and 1D ones, fitted by SVD.

    Args:
        streams: m, the orientations, 1 to 3.
        depth: n; `convert` makes up to n consecutive convolutions one operator with as many 2D
            convolutions in a stream. In `decompose` those after the first start as identities.
        filters: Filters of each 2D convolution; None for M / streams (Eqn 5), "full" for an exact
            fit.
        relu: ReLU between the convolutions, as in the paper. The filters then come in pairs of
            opposite sign, so that nothing is lost, at twice the filters for a rank.
        join: "concat" gives each stream its share of the outputs; "sum" adds streams up (Eqn 3).
    """

    streams: int = 1
    depth: int = 1
    filters: int | Literal["full"] | None = None
    relu: bool = True
    join: Literal["concat", "sum"] = "concat"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.streams not in (1, 2, 3) or self.depth < 1 or self.join not in ("concat", "sum"):
            raise ConversionError(
                "ParallelSeparable: streams is 1, 2 or 3, depth at least 1 and join 'concat' or "
                f"'sum', got {self}"
            )

    @property
    def longest_run(self) -> int:
        return self.depth

    def alone(self) -> "ParallelSeparable":
        return replace(self, depth=1)

    def takes(self, conv: nn.Conv3d) -> bool:
        enough = self.join == "sum" or conv.out_channels // conv.groups >= self.streams
        return super().takes(conv) and enough

    def build(self, conv: nn.Conv3d, **like: object) -> ParallelSeparableConv3d:
        options: Any = dict(streams=self.streams, depth=self.depth, relu=self.relu, join=self.join)
        arguments = self.arguments(conv, like)
        filters = self.filters
        if filters == "full":
            filters = self._full(ParallelSeparableConv3d(**arguments, **options))
        return ParallelSeparableConv3d(**arguments, **options, filters=filters)

    def _full(self, operator: ParallelSeparableConv3d) -> int:
        """Return the filters of a stream with which every stream is exact."""
        inputs, size = operator.in_channels // operator.groups, operator.kernel_size
        needs = [
            min(share * taps, inputs * size[0] * size[1] * size[2] // taps)
            for share, taps in zip(operator.shares, size, strict=False)
        ]
        # one exact stream is enough for a sum
        need = min(needs) if self.join == "sum" else max(needs)
        return need * operator.groups * self._pair

    @property
    def _pair(self) -> int:
        return 2 if self.relu else 1

    def fill(
        self, operator: ParallelSeparableConv3d, kernel: Tensor, bias: nn.Parameter | None
    ) -> Tensor:
        rank = operator.filters // operator.groups
        terms = self._terms(kernel, operator, rank // self._pair)
        parts = []
        for axis, (stream, (left, right)) in enumerate(zip(operator.streams, terms, strict=True)):
            shape = (*left.shape[:1], left.shape[1] // kernel.shape[3 + axis], *kernel.shape[2:])
            parts.append(tensorize(left @ right, axis, shape))
            if self.relu:
                left, right = as_pairs(left, right, rank)
            convs = [layer for layer in stream.modules() if isinstance(layer, nn.Conv3d)]
            place(convs[0], "weight", right)
            for conv in convs[1:-1]:
                nn.init.dirac_(conv.weight, conv.groups)
            line = left.unflatten(1, (-1, kernel.shape[3 + axis])).transpose(2, 3)
            place(convs[-1], "weight", line)
        self._place_bias(operator, bias)
        return torch.stack(parts).sum(0) if self.join == "sum" else torch.cat(parts, dim=1)

    def _terms(
        self, kernel: Tensor, operator: ParallelSeparableConv3d, rank: int
    ) -> list[tuple[Tensor, Tensor]]:
        if self.join == "sum":
            return separable_sum(kernel, self.streams, rank)
        shares = kernel.split(operator.shares, dim=1)
        return [Spectrum(matricize(s, axis)).truncate(rank) for axis, s in enumerate(shares)]

    def _place_bias(self, operator: ParallelSeparableConv3d, bias: nn.Parameter | None) -> None:
        lines: Any = [stream[-1] for stream in operator.streams]  # type: ignore[index]
        if bias is None or self.join == "sum" or len(lines) == 1:
            place(lines[0], "bias", bias)
            return
        parts = bias.detach().unflatten(0, (operator.groups, -1)).split(operator.shares, dim=1)
        for line, part in zip(lines, parts, strict=True):
            place(line, "bias", part.flatten())

    def build_run(self, model: nn.Module, run: Run) -> ParallelSeparableConv3d:
        convs: list[Any] = [model.get_submodule(path) for path in run.convs]
        own = replace(self, depth=len(convs), join="concat")
        return own.build(convs[0], out_channels=convs[-1].out_channels, bias=True)

    def fit_run(self, model: nn.Module, run: Run) -> tuple[ParallelSeparableConv3d, float]:
        return fit_joined(model, run, self.build_run(model, run))

    def choices(self, conv: nn.Conv3d) -> list[Lean[ParallelSeparableConv3d]]:
        full = self._full(replace(self, filters=None).build(conv))
        multiple = self._pair * conv.groups
        ranks = ladder(full, multiple, FEW) if self.join == "sum" else ladder(full, multiple)
        return [replace(self, filters=rank) for rank in ranks]

    def errors(self, conv: nn.Conv3d, kernel: Tensor, choices: list[Any]) -> list[float]:
        if self.join == "sum":
            return super().errors(conv, kernel, choices)
        shares = kernel.split(self.build(conv).shares, dim=1)
        spectra = [Spectrum(matricize(share, axis)) for axis, share in enumerate(shares)]
        ranks = [choice.filters // conv.groups // self._pair for choice in choices]
        return [sum(spectrum.lost(rank) for spectrum in spectra) for rank in ranks]


def separable_sum(kernel: Tensor, streams: int, rank: int) -> list[tuple[Tensor, Tensor]]:
    """Eqn 3: fit `rank` separable terms along each of the first axes, by alternation.

    An iteration fits one stream to the residual of the others, so the error never grows.
    """
    parts = [torch.zeros_like(kernel) for _ in range(streams)]
    terms: list[tuple[Tensor, Tensor]] = [(kernel, kernel)] * streams
    before = float("inf")
    for _ in range(SWEEPS):
        for axis in range(streams):
            left = kernel - torch.stack(parts).sum(0) + parts[axis]
            terms[axis] = Spectrum(matricize(left, axis)).truncate(rank)
            parts[axis] = tensorize(terms[axis][0] @ terms[axis][1], axis, kernel.shape)
        error = float((kernel - torch.stack(parts).sum(0)).norm())
        if error >= before * (1 - GAIN):
            break
        before = error
    return terms
