"""Say in one sentence that a model's own method cannot merge branches that became 3D.

timm's `reparameterize_model` calls `fuse`, `reparameterize` or `switch_to_deploy` of every module
that has it. They compute one kernel from those of several branches, and are written for 2D ones.
"""

from typing import Any

from torch import nn

from lean3d.conversion.surgery.subclass import Mixed, mixed, own_class
from lean3d.conversion.to3d.afterwards import PLACE
from lean3d.errors import ConversionError, LeanError
from lean3d.tracer import Args, Kwargs

__all__ = ["explain_merging"]

LONGEST = 120  # characters of the error that are quoted


class Fuses(Mixed):
    def fuse(self, *args: Any, **kwargs: Any) -> Any:
        return _merged(self, "fuse", super(), args, kwargs)


class Reparameterizes(Mixed):
    def reparameterize(self, *args: Any, **kwargs: Any) -> Any:
        return _merged(self, "reparameterize", super(), args, kwargs)


class Deploys(Mixed):
    def switch_to_deploy(self, *args: Any, **kwargs: Any) -> Any:
        return _merged(self, "switch_to_deploy", super(), args, kwargs)


METHODS = {"fuse": Fuses, "reparameterize": Reparameterizes, "switch_to_deploy": Deploys}


def explain_merging(model: nn.Module) -> None:
    """Let the methods of a converted network that merge branches say what to do if they cannot."""
    for module in model.modules():
        kind = own_class(module)
        if PLACE not in vars(module) or kind.__module__.startswith(("torch.", "lean3d.")):
            continue
        for name, front in METHODS.items():
            if callable(getattr(kind, name, None)):
                module.__class__ = mixed(front, type(module))


def _merged(module: Any, name: str, own: object, args: Args, kwargs: Kwargs) -> Any:
    try:
        return getattr(own, name)(*args, **kwargs)
    except Exception as error:  # of another library, on kernels that it does not know
        if isinstance(error, LeanError) or PLACE not in vars(module):
            raise
        how = type(vars(module)[PLACE].how).__name__
        why = (str(error) or type(error).__name__).splitlines()[0][:LONGEST]
        raise ConversionError(
            f"{own_class(module).__name__}.{name} merges 2D branches, and cannot merge those of a "
            f"network converted by {how}(); call it on the 2D model, then convert the result "
            f"({why})"
        ) from error
