"""Make the 3D convolutions of a network lean, their kernels fitted."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lean3d.conversion.lean.base import Lean
from lean3d.conversion.lean.budget import choose_ranks
from lean3d.conversion.lean.dense import is_dense, own_padding, refusal
from lean3d.conversion.lean.fit import distance, fit
from lean3d.conversion.lean.proof import compare
from lean3d.conversion.lean.runs import Run, find_runs
from lean3d.conversion.record import Check, Conversion, Row
from lean3d.conversion.surgery.copies import duplicate
from lean3d.conversion.surgery.take_over import take_over
from lean3d.conversion.surgery.ties import check_tied, tied
from lean3d.conversion.to3d.base import refusal_at
from lean3d.conversion.trace.inputs_3d import example_for
from lean3d.conversion.trace.inputs_3d import run as run_model
from lean3d.conversion.unfitted import is_unfitted
from lean3d.errors import ConversionError

__all__ = ["make_lean"]

Where = Callable[[str, nn.Module], bool]
# an option as `extra_repr` shows it, and those that nn.Conv3d has too
OPTION = re.compile(r"(\w+)=(\([^)]*\)|[^,]+)")
PLAIN = inspect.signature(nn.Conv3d).parameters.keys()


def make_lean(
    model: nn.Module, how: Lean, where: Where | None, example: object, budget: float | None
) -> nn.Module:
    """Return a copy of a 3D network whose dense 3D convolutions are lean.

    Args:
        budget: Multiply-adds on the example, or up to 1 a share of the model's own; None keeps the
            ranks of `how`.

    Raises:
        ConversionError: a convolution cannot be replaced, or the budget cannot be met.
    """
    result = duplicate(model)  # this copy is run, so that other threads can use the model meanwhile
    # what is not fitted is run only to find consecutive convolutions
    idle = is_unfitted() and how.longest_run == 1
    arguments = None if idle else example_for(result, example)
    sites = _sites(result, how, where)
    runs = _runs(result, how, sites, arguments)
    taken = {path for run in runs for path in run.convs}
    alone = {path: how.alone() for path in sites if path not in taken}
    singles: dict[str, Lean | None] = dict(alone)
    joined: list[Lean | None] = [how] * len(runs)
    if budget is not None:
        if arguments is None:
            raise ConversionError("budget= needs example=, an input (B, C, D, H, W) of the model")
        singles, joined = choose_ranks(result, sites, alone, runs, how, arguments, budget)
    ties = tied(result)
    work = _Work(kernels={}, made={})
    rows = [
        _replace(path, sites[path], each, work)
        for path, each in singles.items()
        if each is not None
    ]
    rows += [
        row
        for run, each in zip(runs, joined, strict=True)
        if each is not None
        for row in _replace_run(result, run, each)
    ]
    check_tied(result, ties)
    if example is not None and not _is_on_meta(model):
        fitted = [part for row in rows for part in result.get_submodule(row.path).modules()]
        how.calibrate(fitted, lambda: run_model(result, arguments or ()))
    checks, note = _checks(model, result, None if any(joined) else work.kernels, arguments)
    before = vars(model).get("conversion")
    record = Conversion(how, "fitted", tuple(rows), checks, note, before=before)
    vars(result)["conversion"] = record
    return result


def _sites(model: nn.Module, how: Lean, where: Where | None) -> dict[str, nn.Conv3d]:
    """Return the convolutions to replace, by path, in the order of the model."""
    convs = [(p, m) for p, m in model.named_modules() if is_dense(m)]
    stem = convs[0][0] if convs and not how.takes_stem else None
    sites = {}
    for path, conv in convs:
        if path == stem or not how.takes(conv) or not (where is None or where(path, conv)):
            continue
        if why := refusal(conv):
            raise refusal_at(path, conv, why)
        sites[path] = conv
    return sites


def _runs(
    model: nn.Module,
    how: Lean,
    sites: dict[str, nn.Conv3d],
    arguments: tuple[Tensor, ...] | None,
) -> list[Run]:
    """Return the runs of convolutions that become one operator."""
    if how.longest_run == 1:
        return []
    if arguments is None:
        raise ConversionError(
            f"{how} joins consecutive convolutions, for which it needs example=, an input "
            "(B, C, D, H, W) of the model"
        )
    return find_runs(model, how.longest_run, sites, arguments)


def _is_on_meta(model: nn.Module) -> bool:
    return any(tensor.is_meta for tensor in model.parameters())


def _replace_run(model: nn.Module, run: Run, how: Lean) -> list[Row]:
    """Put the operator in the place of the last convolution; remove the modules before it."""
    *first, last = run.convs
    convs: list[Any] = [model.get_submodule(path) for path in run.convs]
    missed: bool | float = False
    if is_unfitted():
        operator = how.build_run(model, run).to_empty(device=convs[-1].weight.device)
    else:
        operator, missed = how.fit_run(model, run)
    for parameter in operator.parameters():
        parameter.requires_grad_(convs[-1].weight.requires_grad)
    rows = [
        Row(last, f"{len(run.convs)} x {type(convs[-1]).__name__}", _says(operator), missed, True)
    ]
    take_over(convs[-1], operator)
    for path in (*first, *run.between):
        module = model.get_submodule(path)
        rows.append(Row(path, type(module).__name__, "Identity", False, False))
        take_over(module, nn.Identity())
    return rows


@dataclass
class _Work:
    """The fits so far.

    Args:
        kernels: The kernels the operators equal, by path.
        made: The operator made from a parameter, so that tied ones stay tied.
    """

    kernels: dict[str, Tensor]
    made: dict[Any, nn.Module]


def _replace(path: str, conv: nn.Conv3d, how: Lean, work: _Work) -> Row:
    try:
        found = fit(conv, how)
    except ConversionError as error:
        raise refusal_at(path, conv, str(error)) from error
    missed = False if conv.weight.is_meta or is_unfitted() else distance(conv.weight, found.kernel)
    work.kernels[path] = found.kernel
    first = work.made.setdefault((id(conv.weight), conv.groups, how), found.operator)
    _share(first, found.operator)
    before, after = type(conv).__name__, _says(found.operator)
    take_over(conv, own_padding(conv, found.operator))
    return Row(path, before, after, missed, True)


def _share(first: nn.Module, operator: nn.Module) -> None:
    """Use the factors of the operator that was made from the same weight."""
    for name, _ in list(operator.named_parameters()):
        if not name.endswith("bias"):
            owner, _, last = name.rpartition(".")
            setattr(operator.get_submodule(owner), last, first.get_parameter(name))


def _says(operator: Any) -> str:
    """Return the class and its options beyond those of nn.Conv3d."""
    shown = OPTION.findall(operator.extra_repr())
    own = ", ".join(f"{name}={value}" for name, value in shown if name not in PLAIN)
    return f"{type(operator).__name__}({own})"


def _checks(
    model: nn.Module,
    result: nn.Module,
    kernels: dict[str, Tensor] | None,
    arguments: tuple[Tensor, ...] | None,
) -> tuple[tuple[Check, ...], str]:
    if is_unfitted():
        return (), "not fitted, and not checked by values: its weights are read from a file"
    if arguments is None:
        return (), "self-check skipped: no volume was found on which the model runs; pass example="
    return compare(model, result, kernels, arguments)
