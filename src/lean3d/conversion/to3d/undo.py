"""The 2D model back from a converted one."""

from torch import nn

from lean3d.conversion.surgery.copies import duplicate
from lean3d.conversion.surgery.fx import forget_in_copies
from lean3d.conversion.surgery.swap import Was
from lean3d.conversion.to3d.afterwards import PLACE
from lean3d.conversion.to3d.merged.modules import restore_class
from lean3d.errors import ConversionError

__all__ = ["unconvert"]


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
    for name in ("conversion", PLACE):
        forget_in_copies(result, name)
    return result


def _loses(module: nn.Module) -> bool:
    was = vars(module).get("_was")
    if not isinstance(was, Was):
        return False
    both = ((module._parameters[name], size) for name, size in was.sizes.items())
    return any(p is not None and was.how.loses(module, p, size) for p, size in both)


def _flatten(module: nn.Module, made: dict[int, nn.Parameter]) -> None:
    restore_class(module)
    vars(module).pop(PLACE, None)
    was = vars(module).pop("_was", None)
    if was is None:
        return
    for name, size in was.sizes.items():
        parameter = module._parameters[name]
        if size is None or parameter is None:
            del module._parameters[name]
        elif parameter.ndim > len(size):
            if id(parameter) not in made:
                flat = was.how.kernel_2d(module, parameter.detach())
                made[id(parameter)] = nn.Parameter(flat, requires_grad=parameter.requires_grad)
            module._parameters[name] = made[id(parameter)]
    for name in was.added:
        del vars(module)[name]
    vars(module).update(was.settings)
    module.__class__ = was.kind
