"""Choose ranks that meet a budget of multiply-adds with the smallest total error.

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lean3d.conversion.lean.base import Lean
from lean3d.conversion.lean.dense import own_padding
from lean3d.conversion.lean.runs import Run
from lean3d.conversion.trace.inputs_3d import run as run_model
from lean3d.cost import count
from lean3d.errors import ConversionError
from lean3d.tracer import Args, Kwargs, Watch

__all__ = ["Option", "choose_options", "choose_ranks"]

BINS = 4096
RUN_STEP = 2  # runs are fitted to the example, which takes longer


@dataclass(frozen=True)
class Option:
    """One option for a convolution or a run of them; `how` is None if they stay dense.

    Args:
        macs: Multiply-adds on the example.
        error: Squared distance to the kernel, over the kernel's squared norm; for a run, squared
            error of its output on the example, over the variance of that output.
    """

    how: Lean | None
    macs: int
    error: float


def choose_ranks(
    model: nn.Module,
    sites: dict[str, nn.Conv3d],
    singles: dict[str, Lean],
    runs: list[Run],
    how: Lean,
    arguments: tuple[Any, ...],
    budget: float,
) -> tuple[dict[str, Lean | None], list[Lean | None]]:
    """Choose an option for each convolution replaced alone, and for each run.

    Args:
        sites: The convolutions of both.
        singles: The form of convolutions outside of runs.
        how: The form of runs.
        budget: Multiply-adds of the whole network on the arguments; up to 1, a share of its own.

    Raises:
        ConversionError: even the lowest ranks exceed the budget; the message gives their cost.
    """
    shapes = _input_shapes(model, sites, arguments)
    whole = count(model, [tuple(x.shape) for x in arguments]).macs
    dense = {path: _macs(sites[path], shapes[path]) for path in sites}
    fixed = whole - sum(dense.values())
    room = int(budget * whole if budget <= 1 else budget) - fixed
    options = [_options(sites[path], singles[path], shapes[path], dense[path]) for path in singles]
    options += [_run_options(model, run, how, sum(dense[p] for p in run.convs)) for run in runs]
    least = fixed + sum(min(option.macs for option in each) for each in options)
    if fixed + room < least:
        raise ConversionError(
            f"budget={budget:g} cannot be met: with {how} the network costs at least {least:,} of "
            f"its {whole:,} multiply-adds on this example ({least / whole:.2f})"
        )
    hows = [option.how for option in choose_options(options, room)]
    return dict(zip(singles, hows, strict=False)), hows[len(singles) :]


def _input_shapes(
    model: nn.Module, sites: dict[str, nn.Conv3d], arguments: tuple[Any, ...]
) -> dict[str, list[tuple[int, ...]]]:
    """Return the input shapes of each convolution, one for each call."""
    watch = _Shapes(model, set(sites))
    watch.see(lambda: run_model(model, arguments))
    return watch.shapes


class _Shapes(Watch):
    def __init__(self, model: nn.Module, paths: set[str]):
        super().__init__(model, paths)
        self.shapes: dict[str, list[tuple[int, ...]]] = {path: [] for path in paths}

    def entered(self, path: str, args: Args, kwargs: Kwargs) -> None:
        self.shapes[path].append(tuple(args[0].shape))


def _macs(module: nn.Module, shapes: list[tuple[int, ...]]) -> int:
    return sum(count(module, shape).macs for shape in shapes)


def _options(conv: nn.Conv3d, how: Lean, shapes: list[tuple[int, ...]], dense: int) -> list[Option]:
    weight = conv.weight.detach().to("cpu", torch.float64)
    kernel = weight.unflatten(0, (conv.groups, -1))
    choices = how.choices(conv)
    errors = how.errors(conv, kernel, choices)
    norm = max(float(weight.square().sum()), 1e-30)
    options = [Option(None, dense, 0.0)]
    for choice, error in zip(choices, errors, strict=True):
        macs = _macs(own_padding(conv, choice.build(conv)), shapes)
        if macs < dense:
            options.append(Option(choice, macs, error / norm))
    return options


def _run_options(model: nn.Module, run: Run, how: Lean, dense: int) -> list[Option]:
    last: Any = model.get_submodule(run.convs[-1])
    options = [Option(None, dense, 0.0)]
    for choice in how.choices(last)[::RUN_STEP]:
        macs = count(choice.build_run(model, run), tuple(run.given.shape)).macs
        if macs < dense:
            options.append(Option(choice, macs, choice.fit_run(model, run)[1] ** 2))
    return options


def choose_options(options: Sequence[Sequence[Option]], room: int) -> list[Option]:
    """Choose one option each, within `room`, with the smallest summed error: knapsack, `BINS` bins.

    Costs are rounded up to bins, so that the budget holds; if rounding leaves no choice, the
    leanest options are taken. The most accurate ones are taken if they fit.
    """
    ideal = [min(each, key=lambda option: option.error) for each in options]
    if sum(option.macs for option in ideal) <= room:
        return ideal
    step = max(room / BINS, 1.0)
    size = int(room / step)
    best = torch.zeros(size + 1, dtype=torch.float64)
    taken = []
    for each in options:
        trials = torch.full((len(each), size + 1), torch.inf, dtype=torch.float64)
        for row, option in enumerate(each):
            bins = -int(-option.macs // step)
            if bins <= size:
                trials[row, bins:] = best[: size + 1 - bins] + option.error
        best, rows = trials.min(dim=0)
        taken.append(rows)
    if best[-1].isinf():
        return [min(each, key=lambda option: option.macs) for each in options]
    chosen, left = [], size
    for each, rows in zip(reversed(options), reversed(taken), strict=True):
        option = each[int(rows[left])]
        left += int(-option.macs // step)
        chosen.append(option)
    return chosen[::-1]
