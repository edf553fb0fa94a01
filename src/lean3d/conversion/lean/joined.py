"""Fit one operator with several 2D convolutions per stream to consecutive 3D convolutions.

Paper: Gonda et al. (PmSCn), arXiv:1809.04096, Sec 3.2 and 3.3, Fig 3
Differs from the paper: it trains from scratch; here the 2D filters come from the convolutions, and
the 1D ones are solved for on the activations of the network.

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

from typing import Any

import torch
from torch import Tensor, nn

from lean3d.conversion.lean.factor import Spectrum, as_pairs, matricize
from lean3d.conversion.lean.runs import Run
from lean3d.ops import ParallelSeparableConv3d

__all__ = ["fit_joined"]

RIDGE = 1e-4
ENOUGH = 3  # equations for each unknown


@torch.no_grad()
def fit_joined(
    model: nn.Module, run: Run, operator: ParallelSeparableConv3d
) -> tuple[ParallelSeparableConv3d, float]:
    """Return the operator fitted to a run, and the relative error of its output on the example.

    The 1D convolutions are fitted to every other column; the error is that on the others.
    """
    convs: list[Any] = [model.get_submodule(path) for path in run.convs]
    operator = operator.to_empty(device="cpu").to(convs[0].weight.device)
    kernels = [_scaled(model, run, conv, path) for conv, path in zip(convs, run.convs, strict=True)]
    start = 0
    for axis, stream in enumerate(operator.streams):
        share = operator.shares[axis]
        _fill(operator, stream, axis, kernels, slice(start, start + share))
        _solve(stream, axis, run.given, run.wanted[:, start : start + share])
        start += share
    unseen = slice(1 if run.wanted.shape[-1] > 1 else 0, None, 2)
    wanted = run.wanted[..., unseen]
    missed = operator.eval()(run.given)[..., unseen] - wanted
    spread = wanted - run.wanted.mean((0, 2, 3, 4), keepdim=True)
    return operator, float(missed.norm() / spread.norm().clamp(min=1e-30))


def _scaled(model: nn.Module, run: Run, conv: nn.Conv3d, path: str) -> Tensor:
    """Return the kernel scaled by the gain of the batch norm after it, if one is removed."""
    weight = conv.weight.detach().double()
    if path == run.convs[-1]:
        return weight
    for name in run.between[run.convs.index(path) :]:
        norm: Any = model.get_submodule(name)
        if isinstance(norm, nn.BatchNorm3d) and norm.num_features == len(weight):
            variance: Any = norm.running_var
            gain = (variance.double() + norm.eps).rsqrt()
            gain = gain if norm.weight is None else gain * norm.weight.detach().double()
            return weight * gain.view(-1, 1, 1, 1, 1)
    return weight


def _fill(
    operator: ParallelSeparableConv3d, stream: Any, axis: int, kernels: list[Tensor], outputs: slice
) -> None:
    """Fit the first 2D convolutions to flattened kernels, the last and the 1D one to factors."""
    layers = [layer for layer in stream if isinstance(layer, nn.Conv3d)]
    filters = operator.filters
    kept = torch.arange(kernels[0].shape[1])
    for layer, kernel, after in zip(layers, kernels, kernels[1:], strict=False):
        plane = kernel[:, kept].sum(2 + axis, keepdim=True)
        weight = plane.flatten(1).norm(dim=1) * after.transpose(0, 1).flatten(1).norm(dim=1)
        kept_next = weight.argsort(descending=True)[:filters]
        nn.init.kaiming_normal_(layer.weight)
        own = layer.weight[: len(kept_next), : len(kept)]
        own.copy_(plane[kept_next])
        layer.weight[: len(kept_next), len(kept) :] = 0
        kept = kept_next
    last = kernels[-1][outputs][:, kept]
    pair = 2 if operator.relu else 1
    left, right = Spectrum(matricize(last[None], axis)).truncate(filters // pair)
    if operator.relu:
        left, right = as_pairs(left, right, filters)
    plane_layer = layers[len(kernels) - 1]
    plane_layer.weight.zero_()
    shape = (filters, len(kept), *plane_layer.weight.shape[2:])
    plane_layer.weight[:, : len(kept)] = right[0].reshape(shape).to(plane_layer.weight)
    line = left.unflatten(1, (-1, last.shape[2 + axis])).transpose(2, 3)
    layers[-1].weight.copy_(line.reshape(layers[-1].weight.shape))


def _solve(stream: Any, axis: int, given: Tensor, wanted: Tensor) -> None:
    """Fit the 1D convolution and its bias by least squares, if there is enough data."""
    line = stream[-1]
    features = stream[:-1].eval()(given)
    probe: Any = nn.Conv3d(1, line.kernel_size[axis], line.kernel_size, line.stride, line.padding)
    taps = probe.weight.shape[0]
    probe.weight.data = torch.eye(taps).reshape(probe.weight.shape)
    probe.bias.data.zero_()
    probe.dilation = line.dilation
    probe = probe.to(features)
    channels = features.shape[1]
    seen = probe(features.flatten(0, 1).unsqueeze(1)).unflatten(0, (-1, channels))
    seen, wanted = seen[..., ::2], wanted[..., ::2]
    line.bias.zero_()
    if wanted[:, 0].numel() < ENOUGH * channels * taps:
        return
    rows = seen.permute(0, 3, 4, 5, 1, 2).flatten(0, 3).flatten(1).double()
    rows = torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)
    gram = rows.mT @ rows
    gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    answer = torch.linalg.solve(gram, rows.mT @ wanted.movedim(1, -1).flatten(0, 3).double())
    line.weight.copy_(answer[:-1].mT.unflatten(1, (channels, taps)).reshape(line.weight.shape))
    line.bias.copy_(answer[-1])
