"""Give a 2D model a different number of input channels, before it is converted.

Axes: B batch, C channels, H height, W width.
"""

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.conversion.surgery.copies import duplicate, for_a_while
from lean3d.conversion.to3d.channel_flow import channel_flow, is_plain, set_counts
from lean3d.conversion.to3d.proof.reference import Reference2D, make_reference
from lean3d.conversion.tolerance import GRAY
from lean3d.conversion.trace.compare import difference, tensors
from lean3d.conversion.trace.inputs_2d import COLOURS, as_channels, is_image
from lean3d.conversion.trace.trial_run import run_lightly
from lean3d.errors import ConversionError
from lean3d.guesses import likely_channels

__all__ = ["with_channels"]


def with_channels(model: nn.Module, channels: int, example: object) -> tuple[nn.Module, str]:
    """Return a copy with other input channels, and a line that describes the change.

    The filters of the convolutions that read the image are distributed over the new channels, so
    that an image with equal channels gives the same output: a single channel gets the sum of all.

    Args:
        example: An input of the copy.
    """
    who = f"in_channels={channels}"
    reference = _prepare(model, channels, example)
    before = next(x.shape[1] for x in reference.sample.arguments if is_image(x))
    stems = _stems(reference, before, who)
    shares = [_shares(reference.model, stems, before, channels, inner) for inner in (False, True)]
    problems = [_problem(reference, share, before, channels) for share in shares]
    if all(problems):
        raise ConversionError(
            f"{who}: {type(model).__name__} does more with the channels of the image than convolve "
            f"them in {', '.join(map(repr, stems))} ({problems[0]})"
        )
    result = duplicate(model)
    _take(result, shares[problems.index("")], before, channels)
    names = ", ".join(map(repr, stems))
    return result, f"{who}: {names} took {before}, whose filters were distributed"


def _prepare(model: nn.Module, channels: int, example: object) -> Reference2D:
    """Run the 2D model on images as the example's, but with the channels it takes."""
    counts = likely_channels(model, *COLOURS)
    for count in counts if example is not None else ():
        with suppress(ConversionError):
            return make_reference(model, as_channels(example, channels, count))
    return make_reference(model, example)


def _stems(reference: Reference2D, before: int, who: str) -> list[str]:
    """Return the convolutions whose input channels are those of the image."""
    mixing, _ = channel_flow(reference.light, reference.sample.arguments)
    stems = sorted({each.path for each in mixing if "" in each.sources})
    if not stems:
        raise ConversionError(
            f"{who}: nothing in {type(reference.model).__name__} convolves the image"
        )
    for path in stems:
        module: Any = reference.model.get_submodule(path)
        if not is_plain(module, nn.Conv2d) or module.in_channels % before:
            raise ConversionError(
                f"{who}: the {before} channels of the image go into {path!r}, {module}; only a "
                f"convolution of {before} channels in one group, with a weight of its own, can "
                "take others"
            )
    return stems


def _shares(
    model: nn.Module, stems: list[str], before: int, channels: int, inner: bool
) -> dict[str, Tensor]:
    """Return by path (new, old): the share of each old filter in a new channel.

    Args:
        inner: For an image whose blocks of voxels were made channels, these are the inner axis.
    """
    shares = {}
    for path in stems:
        blocks = torch.eye(model.get_submodule(path).in_channels // before)  # type: ignore[operator, arg-type]
        pair = (deal(before, channels), blocks) if inner else (blocks, deal(before, channels))
        shares[path] = torch.kron(*pair)
    return shares


def _problem(reference: Reference2D, shares: dict[str, Tensor], before: int, channels: int) -> str:
    """Return the reason an image with equal channels gives a different output."""
    old, new = (_gray(reference.sample.arguments, before, count) for count in (before, channels))
    expected = run_lightly(reference.model, old)
    with for_a_while(reference.model):
        _take(reference.model, shares, before, channels)
        try:
            found = run_lightly(reference.model, new)
        except Exception as problem:  # a user's forward may raise anything
            return f"{type(problem).__name__}: {problem}".splitlines()[0]
    if any(x.is_meta for x in tensors(expected)):
        return ""
    error = difference(expected, found, 2)
    good = error <= GRAY
    return "" if good else f"a gray image then gives another output, error {error:.1e}"


def _gray(arguments: tuple[Any, ...], before: int, channels: int) -> tuple[Any, ...]:
    return as_channels(as_channels(arguments, before, 1), 1, channels)


def _take(model: nn.Module, shares: dict[str, Tensor], before: int, channels: int) -> None:
    for path, share in shares.items():
        conv: Any = model.get_submodule(path)
        weight = torch.einsum("ocij,nc->onij", conv.weight.detach(), share.to(conv.weight))
        conv.weight = nn.Parameter(weight, requires_grad=conv.weight.requires_grad)
        conv.in_channels = weight.shape[1]
        set_counts(model, path, ("in_channels", "in_chans"), before, channels)


def deal(before: int, channels: int) -> Tensor:
    """Return (channels, before): the shares of old filters in new channels, summing to 1."""
    few = min(before, channels)
    meet = torch.arange(channels)[:, None] % few == torch.arange(before) % few
    return meet / meet.sum(0)
