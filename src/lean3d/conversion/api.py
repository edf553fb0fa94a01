"""Convert a 2D model into a 3D one that keeps its weights, and check the result."""

import math
from dataclasses import replace
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

from lean3d.conversion.causal.engine import make_causal
from lean3d.conversion.causal.method import Dissect
from lean3d.conversion.cycle.engine import make_cycle
from lean3d.conversion.cycle.modules import Unit
from lean3d.conversion.lean.base import Lean
from lean3d.conversion.lean.dense import is_dense
from lean3d.conversion.lean.engine import make_lean
from lean3d.conversion.methods import named, names_of
from lean3d.conversion.quiet import OwnRandomNumbers, quietly
from lean3d.conversion.record import Conversion, Grade
from lean3d.conversion.surgery.copies import duplicate
from lean3d.conversion.surgery.fx import keep_with_copies
from lean3d.conversion.to3d.afterwards import PLACE, expect_more
from lean3d.conversion.to3d.base import To3D, refusal_at
from lean3d.conversion.to3d.engine import Where, rewrite
from lean3d.conversion.to3d.inflate import Inflate
from lean3d.conversion.to3d.io_channels import with_ends
from lean3d.conversion.to3d.merging import explain_merging
from lean3d.conversion.to3d.misfit import explain_sizes
from lean3d.conversion.to3d.plane_cycle import PlaneCycle
from lean3d.conversion.to3d.planning import proven
from lean3d.errors import ConversionError
from lean3d.ops.base import Conv3dLike
from lean3d.plugins import load_plugins
from lean3d.weights import check_model

__all__ = ["convert", "in_steps"]

FLAT, DEEP = (nn.Conv2d, nn.ConvTranspose2d), (nn.Conv3d, nn.ConvTranspose3d)
How = To3D | Lean | Dissect
# gives a 2D network the dense kernels to which a lean form is fitted
DENSE = Inflate(depth=None, pad="zeros")


def convert(
    model: nn.Module,
    how: How | tuple[To3D, Lean | Dissect],
    *,
    where: Where | None = None,
    example: object = None,
    accept: Grade | None = None,
    budget: float | None = None,
    in_channels: int | None = None,
    num_classes: int | None = None,
) -> nn.Module:
    """Return a 3D copy of a 2D model with its weights, or a lean copy of a 3D one fitted to them.

    The copy is checked before it is returned: a 3D one against the 2D model on volumes made of
    images, a lean one against the dense network with the fitted kernels, a causal one frame by
    frame against the whole clip. `.conversion` of the result records what each module became,
    its error, and the result of the self-check.

    Args:
        how: From 2D `ACS()`, `MeanACS()`, `SoftACS()`, `Planar()`, `PlaneCycle()` or `Inflate()`,
            which keep parameter names; from 3D `SpaceTime()`, `ParallelSeparable()`,
            `ChannelSeparated()`, `Atoms()`, or `Dissect()` for a causal one. A lean form of a 2D
            model is fitted to its inflated kernels, those of `Inflate(depth=None, pad="zeros")`;
            a pair of methods says to which others, such as `(Inflate(), SpaceTime())`.
        where: Called as where(path, module); only modules for which it is true are converted.
            Modules left 2D cannot be checked. Of two methods it is asked by the second.
        example: An input of the 2D model (B, C, H, W), a volume (B, C, D, H, W), or a tuple of its
            arguments, for the self-check and the budget; without it several sizes are tried.
        accept: The lowest grade accepted: "isotropic", depth is treated exactly as height;
            "planar", every slice keeps the 2D output; "unchecked", no self-check. None means
            "planar" with `Planar`, `Inflate` and `keep_depth`, "isotropic" with the others; only
            from 2D.
        budget: Only to a lean form: multiply-adds of the result on `example`, or up to 1 a share
            of the model's own. Each convolution gets the rank, or stays dense, such that the sum
            of the squared relative errors is smallest.
        in_channels: Channels of the volume, if they differ from those of the image: the filters of
            the first convolution are summed, so that a gray volume gives the output of a gray
            image.
        num_classes: Outputs, if they differ from those of the 2D model: its last layer is
            re-initialised.

    Raises:
        ConversionError: a module has no 3D or lean form, a forward treats the tensor as 2D, or the
            budget cannot be met.
    """
    load_plugins()
    _refuse_cycled(model)
    steps = in_steps(model, how)
    if len(steps) == 2:
        first: dict[str, Any] = dict(accept=accept, in_channels=in_channels)
        deep = convert(model, steps[0], example=example, num_classes=num_classes, **first)
        volume = example if _is_volume(example) else None
        return convert(deep, steps[1], where=where, example=volume, budget=budget)
    (how,) = steps
    _check_arguments(model, how, accept, budget)
    where = None if where is None else _asking(where)
    if isinstance(how, (Lean, Dissect)):
        if (in_channels, num_classes) != (None, None):
            raise ConversionError("in_channels= and num_classes= are for conversions from 2D")
        with quietly(), OwnRandomNumbers():
            if isinstance(how, Dissect):
                return make_causal(model, how, where, example)
            return make_lean(model, how, where, example, budget)
    model, ends = with_ends(model, in_channels, num_classes, example)
    if isinstance(how, PlaneCycle):
        with quietly():
            result = make_cycle(model, how, where, example, checked=accept != "unchecked")
        record = vars(result)["conversion"]
        vars(result)["conversion"] = replace(record, ends=ends)
        keep_with_copies(result, "conversion")
        return result
    accepted = accept or ("planar" if how.planar_is_enough else "isotropic")
    with quietly():
        proof, why = proven(model, how, where, example, accepted)
        result = duplicate(model)
        expect_more(result, proof.plan)
        rows = rewrite(result, proof.plan)
        checks = () if accepted == "unchecked" else proof.checks
    vars(result)["conversion"] = Conversion(how, proof.grade, tuple(rows), checks, why, ends)
    explain_merging(result)
    explain_sizes(result)
    for name in {"conversion", PLACE} & vars(result).keys():
        keep_with_copies(result, name)
    return result


def in_steps(model: nn.Module, how: How | tuple[To3D, Lean | Dissect]) -> tuple[How, ...]:
    """Return the methods that convert a model one after the other: one or two.

    Raises:
        ConversionError: several methods are given that are no pair of one from 2D and another.
    """
    if isinstance(how, tuple):
        if [isinstance(one, To3D) for one in how] != [True, False]:
            raise ConversionError(
                f"two methods are {names_of(To3D)}, then {names_of(Lean, Dissect)}; got "
                f"{', '.join(map(named, how)) or 'none'}"
            )
        return how
    kinds = [type(module) for module in model.modules()] if isinstance(model, nn.Module) else []
    flat, deep = (any(issubclass(k, some) for k in kinds) for some in (FLAT, (*DEEP, Conv3dLike)))
    return (DENSE, how) if isinstance(how, Lean) and flat and not deep else (how,)


def _refuse_cycled(model: nn.Module) -> None:
    """Refuse a network whose blocks run on planes: they are 2D, and not to be converted twice."""
    modules = model.modules() if isinstance(model, nn.Module) else ()
    if any(isinstance(module, Unit) for module in modules):
        raise ConversionError(
            f"{type(model).__name__} cycles planes already, so that its convolutions stay 2D; "
            "convert its 2D network, lean3d.unconvert(model)"
        )


def _is_volume(example: object) -> bool:
    given = example if isinstance(example, tuple) else (example,)
    return all(not isinstance(x, Tensor) or x.ndim == 5 for x in given)


def _check_arguments(model: nn.Module, how: How, accept: str | None, budget: float | None) -> None:
    if accept not in (None, *get_args(Grade)):
        raise ConversionError(f"accept is one of {get_args(Grade)} or None, got {accept!r}")
    if not isinstance(how, (To3D, Lean, Dissect)):
        raise ConversionError(
            f"how must be {names_of(To3D)} for a 2D model, {names_of(Lean, Dissect)} for a 3D one, "
            f"got {named(how)}"
        )
    if budget is not None and (not isinstance(how, Lean) or not 0 < budget < math.inf):
        raise ConversionError(f"budget is a positive number of MACs for a lean form, got {budget}")
    if accept is not None and not isinstance(how, To3D):
        raise ConversionError(f"accept={accept!r} grades conversions from 2D, not {how}")
    if not isinstance(model, nn.Module) or isinstance(model, torch.jit.ScriptModule):
        raise ConversionError(
            f"a {type(model).__name__} cannot be converted; pass the nn.Module it was made from"
        )
    if isinstance(how, PlaneCycle) and accept not in (None, "planar", "unchecked"):
        raise ConversionError(
            f"PlaneCycle has no grade {accept!r}: its blocks run on several planes, the rest on "
            "one; leave accept= out"
        )
    if isinstance(how, To3D) and _is_deep(model):
        raise ConversionError(
            f"{type(model).__name__} is 3D already: it has no 2D convolutions, and {how} is for 2D "
            "models; SpaceTime(), Dissect() and the others take 3D ones"
        )
    if not isinstance(how, To3D):
        _check_deep(model, how)
    for path, module in model.named_modules():
        if _is_lazy(module):
            raise refusal_at(path, module, "it has no weights yet; run the 2D model once first")
    check_model("convert", model, ConversionError, meta=True)
    if not isinstance(getattr(model, "conversion", None), (Conversion, type(None))):
        raise ConversionError(
            f"{type(model).__name__} has an attribute 'conversion' of its own; rename it, because "
            "the record of the conversion goes there"
        )


def _asking(where: Where) -> Where:
    """Return the function that selects modules, with what it raises as one sentence."""
    kind = type(where).__name__
    if not callable(where):
        raise ConversionError(f"where is called as where(path, module), and a {kind} cannot be")

    def asked(path: str, module: nn.Module) -> bool:
        try:
            return bool(where(path, module))
        except Exception as error:  # whatever a user's function raises
            why = (str(error) or type(error).__name__).splitlines()[0]
            raise ConversionError(
                f"where(path, module) is to say whether a module is converted, and the {kind} "
                f"given raised at {path!r}: {why[:160]}"
            ) from error

    return asked


def _check_deep(model: nn.Module, how: Lean | Dissect) -> None:
    """Refuse a network that has nothing to make lean or causal."""
    kinds = (*DEEP, Conv3dLike)
    lean, modules = isinstance(how, Lean), model.modules()
    if any(is_dense(module) if lean else isinstance(module, kinds) for module in modules):
        return
    flat = any(isinstance(module, FLAT) for module in model.modules())
    remedy = "convert it to 3D first, for example with ACS()" if flat else "pass one that has"
    found = "is a 2D network and " if flat else ""
    raise ConversionError(
        f"{type(model).__name__} {found}has no dense 3D convolution, which is what {how} replaces; "
        f"{remedy}"
    )


def _is_deep(model: nn.Module) -> bool:
    kinds = [type(module) for module in model.modules()]
    deep, flat = (any(issubclass(kind, some) for kind in kinds) for some in (DEEP, FLAT))
    was_converted = isinstance(getattr(model, "conversion", None), Conversion)
    return (deep or was_converted) and not flat


def _is_lazy(module: nn.Module) -> bool:
    return isinstance(module, LazyModuleMixin)
