"""The 2D model back from a converted one."""

from typing import Any

from torch import Tensor, nn

from lean3d.conversion.surgery.copies import duplicate
from lean3d.conversion.surgery.fx import forget_in_copies
from lean3d.conversion.surgery.swap import Was
from lean3d.conversion.to3d.merged.modules import unfold_class
from lean3d.errors import ConversionError

__all__ = ["unconvert"]

APART = 1e-5  # relative difference at which two kernels count as different


def unconvert(model: nn.Module, *, lossy: bool = False) -> nn.Module:
    """Return a 2D copy of a model that `convert` made from one, with the weights it has now.

    Classes, settings, forwards and parameter names are those of the 2D model; changed channels and
    classes (`in_channels=`, `num_classes=`) stay. ACS, MeanACS and Planar kernels are 2D kernels
    already; inflated ones are summed over depth, their effect on a repeated slice.

    Args:
        lossy: Drop weights that have no 2D form: the learnt plane weights of a SoftACS net, and
            the learnt differences between the phases of an inflated transposed kernel.

    Raises:
        ConversionError: the model was not converted from 2D, or weights would be lost.
    """
    if not isinstance(model, nn.Module):
        raise ConversionError(
            f"a {type(model).__name__} cannot be converted back; pass an nn.Module"
        )
    result = duplicate(model)
    modules = list(result.named_modules())
    if not any(isinstance(vars(module).get("_was"), Was) for _, module in modules):
        raise ConversionError(
            f"{type(model).__name__} is not what convert() made from a 2D model, or nothing in it "
            "was changed; there is nothing to convert back"
        )
    lost = [path for path, module in modules if _loses(module)]
    if lost and not lossy:
        raise ConversionError(
            f"{lost[0] or 'the model itself'!r}, and {len(lost) - 1} more, have learnt what no 2D "
            "kernel says (how to mix the planes, or slices apart); unconvert(model, lossy=True) "
            "drops that"
        )
    made: dict[int, nn.Parameter] = {}
    for _, module in modules:
        _flatten(module, made)
    vars(result).pop("conversion", None)
    forget_in_copies(result, "conversion")
    return result


def _loses(module: nn.Module) -> bool:
    was = vars(module).get("_was")
    for name, size in was.sizes.items() if was is not None else ():
        parameter = module._parameters[name]
        if parameter is None:
            continue
        if size is None and (parameter - parameter[:, :1]).abs().max() > 0:
            return True
        if size is not None and isinstance(module, nn.ConvTranspose3d):
            flat = _summed(module, parameter)
            phases = [_phase(module, parameter, phase) for phase in range(int(module.stride[0]))]
            if any((one - flat).abs().max() > APART * flat.abs().max() for one in phases):
                return True
    return False


def _flatten(module: nn.Module, made: dict[int, nn.Parameter]) -> None:
    unfold_class(module)
    was = vars(module).pop("_was", None)
    if was is None:
        return
    for name, size in was.sizes.items():
        parameter = module._parameters[name]
        if size is None or parameter is None:
            del module._parameters[name]
        elif parameter.ndim > len(size):
            if id(parameter) not in made:
                flat = _summed(module, parameter.detach())
                made[id(parameter)] = nn.Parameter(flat, requires_grad=parameter.requires_grad)
            module._parameters[name] = made[id(parameter)]
    for name in was.added:
        del vars(module)[name]
    vars(module).update(was.settings)
    module.__class__ = was.kind


def _summed(module: Any, weight: Tensor) -> Tensor:
    """Return the kernel's effect on a repeated slice."""
    flat = weight.sum(2)
    return flat / module.stride[0] if isinstance(module, nn.ConvTranspose3d) else flat


def _phase(module: Any, weight: Tensor, phase: int) -> Tensor:
    """Return the kernel's effect on a repeated slice in the output slices of one stride phase."""
    taps = [
        tap
        for tap in range(weight.shape[2])
        if tap * module.dilation[0] % module.stride[0] == phase
    ]
    return weight[:, :, taps].sum(2)
