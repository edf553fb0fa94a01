"""Walk a model and convert every module that a rule covers to its 3D form, in place."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from lean3d.conversion.record import Row
from lean3d.conversion.surgery.swap import become, remember
from lean3d.conversion.surgery.ties import check_tied, tied
from lean3d.conversion.to3d.analyse import Need
from lean3d.conversion.to3d.base import Converted, DepthMerge, Site, To3D
from lean3d.conversion.to3d.merged.call import Same
from lean3d.conversion.to3d.merged.modules import restore_depth, run_merged
from lean3d.conversion.to3d.merged.slices import slice_by_slice
from lean3d.conversion.to3d.proof.replicate_axis import replicate_along
from lean3d.conversion.to3d.rules.registry import find_rule
from lean3d.conversion.trace.ops_table import NATIVE, STACK
from lean3d.errors import ConversionError

__all__ = ["Plan", "Where", "flat_paths", "refuse_what_has_no_rule", "rewrite", "would_change"]

Where = Callable[[str, nn.Module], bool]


@dataclass(frozen=True)
class Plan:
    """The changes to apply to every copy of the model.

    Args:
        kept: By path, which of a module's own calls preserve depth.
        needs: The needs of the modules' own forwards, by path.
    """

    how: To3D
    where: Where | None = None
    kept: Mapping[str, tuple[bool, ...]] = field(default_factory=dict)
    needs: Mapping[str, Need] = field(default_factory=dict)

    def selects(self, path: str, module: nn.Module) -> bool:
        return self.where is None or bool(self.where(path, module))

    def speaks_2d(self, path: str) -> bool:
        return path in self.needs and self.needs[path].kind != NATIVE


def rewrite(model: nn.Module, plan: Plan, constant_axis: int | None = None) -> list[Row]:
    """Convert `model` in place; return what changed.

    Args:
        constant_axis: In a self-check, the axis along which the volume is constant.
    """
    rows: list[Row] = []
    made: dict[tuple[Any, ...], nn.Parameter] = {}
    changed: set[nn.Module] = set()
    left = {model.get_submodule(path) for path in flat_paths(model, plan)}
    ties = tied(model)
    for path, module in list(model.named_modules()):
        site = Site(path, plan.how, any(plan.kept.get(path, ())), made)
        if not plan.selects(path, module):
            continue
        change = find_rule(module, site)
        if change is not None:
            row = _apply(module, change(module, site), site, constant_axis)
        else:
            kept = plan.kept.get(path, (False,))
            row = _fold(module, site, plan.needs.get(path, Need()), constant_axis, kept)
        if row is not None:
            rows.append(row)
            changed.add(module)
    _cross(model, plan, changed, left)
    check_tied(model, ties, "choose one of the ACS conversions")
    return rows


def flat_paths(model: nn.Module, plan: Plan) -> list[str]:
    """Return the modules that `where` leaves 2D."""
    return [
        path
        for path, module in model.named_modules()
        if not plan.selects(path, module)
        and (plan.speaks_2d(path) or would_change(module, Site(path, plan.how)))
    ]


def refuse_what_has_no_rule(model: nn.Module, plan: Plan) -> None:
    """Raise ConversionError for a module that has no 3D form, before anything is run."""
    for path, module in model.named_modules():
        if plan.selects(path, module):
            site = Site(path, plan.how, any(plan.kept.get(path, ())))
            change = find_rule(module, site)
            if change is not None:
                change(module, site)


def would_change(module: nn.Module, site: Site) -> bool:
    """Whether a module has another 3D form, or none."""
    try:
        change = find_rule(module, site)
        return change is not None and change(module, site) is not module
    except ConversionError:
        return True


def _apply(module: nn.Module, result: Any, site: Site, constant_axis: int | None) -> Row | None:
    lifted = result if isinstance(result, Converted) else Converted(result)
    if lifted.module is module:
        return None
    before = type(module).__name__
    become(module, lifted.module, site)
    if constant_axis is not None:
        replicate_along(module, constant_axis)
    return Row(site.path, before, type(module).__name__, lifted.exact, lifted.kept)


def _fold(
    module: nn.Module, site: Site, need: Need, constant_axis: int | None, kept: tuple[bool, ...]
) -> Row | None:
    """Run a forward that assumes 4-D input on volumes; convert its own parameters if possible."""
    if need.kind == NATIVE:
        return None
    before = type(module).__name__
    if isinstance(module, nn.Conv2d):
        _adopt(module, site, need)
    stack = need.kind == STACK
    same = tuple(map(bool, need.windows)) or (False,)
    settings = (stack, same, kept, constant_axis, *need.channels_last, need.plugins, need.carries)
    run_merged(module, DepthMerge(site.how, *settings))
    where = "batch" if stack else "height"
    return Row(site.path, before, f"{before}, depth in {where}", not stack, True)


def _adopt(conv: nn.Conv2d, site: Site, need: Need) -> None:
    """Give a convolution with code of its own the parameters of its 3D form.

    A kernel computed from a 2D weight stays 2D, and is expanded to 3D at each call.
    """
    settings: Any = (conv.kernel_size, conv.stride, conv.padding, conv.dilation)
    rest: Any = (conv.groups, conv.bias is not None, conv.padding_mode)
    with torch.device("meta"):
        plain = nn.Conv2d(conv.in_channels, conv.out_channels, *settings, *rest)
    own = conv._parameters.get("weight")
    if own is not None:
        plain.weight = own
    change = find_rule(plain, site)
    assert change is not None
    template: Any = change(plain, site)
    template = template.module if isinstance(template, Converted) else template
    taken = {
        name: parameter
        for name, parameter in template._parameters.items()
        if name not in ("weight", "bias")
    }
    if template.weight.ndim == 5 and not need.computed:
        taken["weight"] = template.weight
    remember(conv, (), taken, site)
    conv._parameters.update(taken)


def _cross(model: nn.Module, plan: Plan, changed: set[nn.Module], left: set[nn.Module]) -> None:
    """Give children of depth-merged forwards 5-D input if they contain converted modules.

    Modules that `where` left 2D receive slices.
    """
    merged = [need for need in plan.needs.values() if need.kind != NATIVE]
    for path in set().union(*(need.callees for need in merged)):
        inside = set((module := model.get_submodule(path)).modules())
        if inside & changed:
            restore_depth(module, _same(path, merged, plan))
        elif inside & left:
            slice_by_slice(module)


def _same(path: str, merged: list[Need], plan: Plan) -> Same | None:
    """Return the window of a module if every forward that calls it pads for it."""
    fed = [need.fed.get(path) for need in merged if path in need.callees]
    windows = [found[1] for found in fed if found is not None and found[0]]
    if not windows or len(windows) < len(fed):
        return None
    return windows[0].one_deep if any(plan.kept.get(path, ())) else windows[0]
