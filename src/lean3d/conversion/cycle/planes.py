"""Slices of a volume on any of its planes: the moves between them, and the tokens of each slice.

A plane is named by the axes of its rows and columns, "HW" for the axial one. Between two blocks a
volume is a batch of slices on the first plane; a block on another plane gets the slices of that.

Axes: B batch, C channels, D depth, H height, W width; N slices, R rows, S columns of a slice,
G tokens without a position (class and register tokens).
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "PLANES",
    "SWAPPED",
    "Kind",
    "across",
    "averaged",
    "letters",
    "resized",
    "turn_of",
    "turned",
]

PLANES = ("HW", "WH", "DW", "WD", "DH", "HD")
# how a tensor holds slices: (N, C, R, S), (N, R, S, C), (N, G + R * S, C), (G + R * S, N, C),
# (N, C, G + R * S), or no positions at all
Kind = Literal["map", "last", "tokens", "first", "channels", "whole"]
SWAPPED = {"first": (0, 1), "channels": (1, 2)}
Sizes = tuple[int, int, int]


def letters(plane: str) -> str:
    """Return the axes of a plane's slices, rows and columns, "DHW" for "HW"."""
    return next(axis for axis in "DHW" if axis not in plane) + plane


def turn_of(first: str, plane: str) -> Sizes:
    """Return the places of a plane's slices, rows and columns among those of the first plane."""
    places = [letters(first).index(axis) for axis in letters(plane)]
    return (places[0], places[1], places[2])


def turned(
    x: Tensor, kind: Kind, turn: Sizes, sizes: Sizes, prefix: int, tokens: str
) -> tuple[Tensor, Sizes]:
    """Return the slices of another plane, and how many slices, rows and columns they have.

    They are contiguous in memory, as the outputs of a 2D network are: forwards may call `view`.

    Args:
        x: Slices of one plane; B is the first axis divided by `sizes[0]`.
        sizes: Slices of one volume, rows and columns in `x`.
        prefix: G, the tokens of a slice that have no position.
        tokens: How these are pooled to the slices of the other plane: "adaptive" or "mean".
    """
    slices, rows, columns = sizes
    new = (sizes[turn[0]], sizes[turn[1]], sizes[turn[2]])
    if kind in SWAPPED:
        moved = turned(x.transpose(*SWAPPED[kind]), "tokens", turn, sizes, prefix, tokens)[0]
        return moved.transpose(*SWAPPED[kind]).contiguous(), new
    if kind == "whole":
        return across(x.unflatten(0, (-1, slices)), new[0], tokens).flatten(0, 1), new
    if kind == "map":
        volume = x.unflatten(0, (-1, slices))  # B N C R S
        at = (1, 3, 4)
        volume = volume.permute(0, at[turn[0]], 2, at[turn[1]], at[turn[2]])
        return volume.flatten(0, 1).contiguous(), new
    placed = x[:, prefix:].unflatten(1, (rows, columns)) if kind == "tokens" else x
    volume = placed.unflatten(0, (-1, slices))  # B N R S C
    volume = volume.permute(0, *(1 + place for place in turn), 4)
    if kind == "last":
        return volume.flatten(0, 1).contiguous(), new
    placed = volume.flatten(2, 3)
    if prefix:
        others = across(x[:, :prefix].unflatten(0, (-1, slices)), new[0], tokens)
        placed = torch.cat([others, placed], 2)
    return placed.flatten(0, 1).contiguous(), new


def across(x: Tensor, count: int, tokens: str) -> Tensor:
    """Return what each of `count` slices gets of (B, N, ...): adaptive means, or the mean of all.

    Source: PlaneCycle (arXiv:2603.04165), its adaptive and its mean pooling of global tokens.
    """
    if tokens == "mean":
        return x.mean(1, keepdim=True).expand(-1, count, *x.shape[2:])
    flat = x.flatten(2)  # B, N, rest
    # a file is for cubes and others, and adaptive pooling has one size in it
    if torch.compiler.is_compiling():
        return (_shares(x, count) @ flat).unflatten(2, x.shape[2:])
    if x.shape[1] == count:
        return x
    means = F.adaptive_avg_pool1d(flat.transpose(1, 2), count)
    return means.transpose(1, 2).unflatten(2, x.shape[2:])


def _shares(x: Tensor, count: int) -> Tensor:
    """Return (count, N): the share of each of N slices in each adaptive mean of them."""
    slices = x.shape[1]
    place = torch.arange(count, device=x.device)[:, None]
    first = place * slices // count
    last = ((place + 1) * slices + count - 1) // count
    each = torch.arange(slices, device=x.device)
    inside = (each >= first) & (each < last)
    return inside.to(x.dtype) / (last - first).to(x.dtype)


def averaged(x: Tensor, slices: int, stride: int) -> Tensor:
    """Return (B * ceil(N / stride), ...): means of `stride` slices next to each other.

    The last mean is of fewer, if no more are left, so one slice stays as it is.

    Args:
        x: (B * N, ...).
        slices: N.
    """
    if stride == 1:
        return x
    volume = x.unflatten(0, (-1, slices))
    if torch.compiler.is_compiling() or slices % stride:
        flat = volume.flatten(2)[:, None]  # B 1 N rest
        means = F.avg_pool2d(flat, (stride, 1), (stride, 1), ceil_mode=True)
        return means[:, 0].flatten(0, 1).unflatten(1, x.shape[1:])
    return volume.unflatten(1, (-1, stride)).mean(2).flatten(0, 1)


def resized(x: Tensor, slices: int, count: int, mode: str) -> Tensor:
    """Return (B * count, ...): slices repeated, or interpolated linearly.

    Args:
        x: (B * N, ...).
        slices: N.
        mode: Of `F.interpolate` along rows and columns.
    """
    if slices == count:
        return x
    smooth = mode in ("bilinear", "bicubic", "linear", "trilinear", "area")
    volume = x.unflatten(0, (-1, slices)).flatten(2).transpose(1, 2)  # B, rest, N
    options: Any = dict(mode="linear", align_corners=False) if smooth else dict(mode="nearest")
    volume = F.interpolate(volume, count, **options)
    return volume.transpose(1, 2).flatten(0, 1).unflatten(1, x.shape[1:])
