"""Modules that are put into a converted network afterwards become 3D when they are put in.

A model's own methods may put in fresh 2D modules: timm's `reset_classifier` a pool, its
`reparameterize_model` a convolution, `freeze` a batch norm; so may `model.pool = ...`. torch
reports every module that is registered. Those registered in a converted network get the 3D form
of its conversion, in place; all other modules are left alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook
from torch.nn.utils.parametrize import ParametrizationList, type_before_parametrizations

from lean3d.conversion.quiet import quietly
from lean3d.conversion.surgery.copies import without_memory
from lean3d.conversion.surgery.subclass import own_class
from lean3d.conversion.surgery.swap import STATE
from lean3d.conversion.to3d.base import Site, To3D
from lean3d.conversion.to3d.engine import Plan, rewrite, would_change
from lean3d.conversion.to3d.keep_depth import changes_resolution
from lean3d.conversion.to3d.merged.modules import merges_depth, restore_depth
from lean3d.conversion.to3d.planning import proven
from lean3d.conversion.to3d.rules.registry import computes_as
from lean3d.conversion.trace.input_sizes import find_sample
from lean3d.errors import ConversionError

__all__ = ["PLACE", "belongs", "expect_more"]

PLACE = "_place"
DEEP = (nn.Conv3d, nn.ConvTranspose3d, nn.BatchNorm3d)
LONGEST = 180
SETTINGS = ("kernel_size", "stride", "padding", "dilation", "output_padding")


@dataclass(frozen=True)
class Place:
    """A module's place in a converted network.

    Args:
        keep: The module there resamples, and preserves depth.
    """

    how: To3D
    keep: bool = False


def expect_more(model: nn.Module, plan: Plan) -> None:
    """Give the modules registered in `model` from now on their 3D form.

    To be called while it is 2D: `where` is asked about its modules.
    """
    for path, module in model.named_modules():
        if plan.selects(path, module):
            vars(module)[PLACE] = Place(plan.how, any(plan.kept.get(path, ())))


def belongs(module: nn.Module) -> bool:
    """Whether a module is part of a converted network."""
    return PLACE in vars(module)


def _registered(owner: nn.Module, name: str, module: nn.Module | None) -> None:
    place = vars(owner).get(PLACE)
    if place is None or module is None or belongs(module):
        return
    # what computes a weight never meets a volume
    if name == "parametrizations" or isinstance(owner, ParametrizationList):
        return
    old = owner._modules.get(name)
    known = old is not None and belongs(old)
    keep = vars(old)[PLACE].keep if known else place.how.keep_depth is None
    settled = known or place.how.keep_depth in (0, None)
    change = _convert(module, owner, name, replace(place, keep=keep), settled)
    for part in module.modules():
        if not belongs(part):
            vars(part)[PLACE] = replace(place, keep=keep and changes_resolution(part))
    if change and (merges_depth(owner) or isinstance(owner, (nn.ModuleList, nn.ModuleDict))):
        for called in _called(module):
            restore_depth(called)


register_module_module_registration_hook(_registered)


def _called(module: nn.Module) -> list[nn.Module]:
    """Return the modules that a forward calls: lists and dicts of modules have none themselves."""
    if not isinstance(module, (nn.ModuleList, nn.ModuleDict)):
        return [module]
    return [called for child in module.children() for called in _called(child)]


def _convert(module: nn.Module, owner: nn.Module, name: str, place: Place, settled: bool) -> bool:
    """Convert what is 2D in `module`, in place; return whether anything was."""
    path = f"{own_class(owner).__name__}.{name}"
    fresh = {p: part for p, part in module.named_modules(prefix=path) if not belongs(part)}
    coded = [p for p, part in fresh.items() if _has_code(part)]
    of_converted = [p for p, part in fresh.items() if _of_converted(part)]
    if of_converted and not place.how.keeps_kernels:
        why = "its kernel is computed from 3D ones"
        raise _refusal(fresh, of_converted[0], place, why)
    if of_converted:
        kept = [_drop_depth(fresh[p]) for p in of_converted]
        place, settled = replace(place, keep=any(kept)), True
    flat = [p for p, part in fresh.items() if would_change(part, Site(p, place.how))]
    resampling = [p for p in flat if changes_resolution(fresh[p])]
    if resampling and not settled:
        raise _refusal(fresh, resampling[0], place, "keep_depth= does not say what depth it keeps")
    if not coded:
        for p in flat:
            calls = {"": (place.keep and changes_resolution(fresh[p]),)}
            _rewrite(fresh[p], p, Plan(place.how, kept=calls))
        return bool(flat)
    if any(map(_is_deep, module.modules())):
        if flat:
            raise _refusal(fresh, flat[0], place, f"{coded[0]!r} holds 2D and 3D modules")
        return False  # written for volumes
    return _convert_code(module, fresh, flat, place)


def _convert_code(
    module: nn.Module, fresh: Mapping[str, nn.Module], flat: list[str], place: Place
) -> bool:
    """Convert a module with a forward of its own, which is run and checked as by `convert`."""
    how = replace(place.how, keep_depth=None if place.keep else 0)
    accepted: Any = "planar" if how.planar_is_enough else "isotropic"
    try:
        with quietly():
            if not flat:  # most have nothing to do with images, and may be large
                find_sample(without_memory(module).eval())
            proof, _ = proven(module, how, None, None, accepted)
    except Exception as error:  # its forward may raise anything
        if flat:
            raise _refusal(fresh, flat[0], place, str(error)) from error
        return False
    with torch.no_grad():
        return bool(rewrite(module, proof.plan))


def _rewrite(part: nn.Module, path: str, plan: Plan) -> None:
    try:
        with torch.no_grad():
            rewrite(part, plan)
    except ConversionError as error:
        raise _refusal({path: part}, path, Place(plan.how), str(error)) from error


def _refusal(parts: Mapping[str, nn.Module], path: str, place: Place, why: str) -> ConversionError:
    kind = type(parts[path]).__name__
    return ConversionError(
        f"{path!r} was put into a network converted by {type(place.how).__name__}() and is 2D "
        f"({kind}); put it in before the conversion, or lean3d.convert it first and put in the "
        f"result ({why[:LONGEST]})"
    )


def _has_code(module: nn.Module) -> bool:
    """Whether a module has a forward of its own, which may treat its input as 2D."""
    kind = computes_as(type_before_parametrizations(module))
    return not kind.__module__.startswith(("torch.", "lean3d."))


def _is_deep(module: nn.Module) -> bool:
    changed = vars(module).keys() & {"_was", "_depth_merge"}
    return bool(changed) or isinstance(module, DEEP)


def _of_converted(module: nn.Module) -> bool:
    """Whether a 2D convolution was given the settings of a converted one, which has three sizes.

    `nn.Conv2d(..., kernel_size=self.conv.kernel_size)` is how a forward's branches are merged.
    """
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    return type(module) in kinds and any(len(value) == 3 for value in _settings(module).values())


def _settings(conv: object) -> dict[str, Any]:
    names = SETTINGS if isinstance(conv, nn.ConvTranspose2d) else SETTINGS[:-1]
    return {name: value for name in names if isinstance(value := getattr(conv, name), tuple)}


def _drop_depth(conv: Any) -> bool:
    """Give such a convolution the settings of the plane; return whether the other kept depth."""
    given = _settings(conv)
    plane = {name: value[-2:] for name, value in given.items()}
    more = {} if "padding" in plane else dict(padding=conv.padding)
    names = ("in_channels", "out_channels", "groups", "padding_mode")
    fresh = type(conv)(
        **{name: getattr(conv, name) for name in names},
        **plane,
        **more,
        bias=conv.bias is not None,
        device=conv.weight.device,
        dtype=conv.weight.dtype,
    )
    own = {name: vars(fresh)[name] for name in vars(fresh).keys() - STATE}
    vars(conv).update(own)
    if conv.weight.shape != fresh.weight.shape:
        conv.weight = fresh.weight
    return any(len(value) == 3 and value[0] < value[1] for value in given.values())
