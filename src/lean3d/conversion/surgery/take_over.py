"""Replace a convolution by an operator, in place.

The module stays the same object, so references to it (a second parent, a hook) stay valid.
"""

from torch import nn

from lean3d.conversion.surgery.swap import STATE
from lean3d.conversion.to3d.merged.modules import SAME, Crossing, restore_depth

__all__ = ["take_over"]

CONTENTS = ("_parameters", "_buffers", "_modules")


def take_over(module: nn.Module, operator: nn.Module) -> None:
    """Give `module` the class, settings, parameters and submodules of `operator`."""
    operator.train(module.training)
    held = (STATE | {SAME}) - set(CONTENTS)
    kept = {name: value for name, value in vars(module).items() if name in held}
    vars(module).clear()
    vars(module).update(vars(operator))
    vars(module).update(kept)
    crosses = isinstance(module, Crossing)
    module.__class__ = type(operator)
    if crosses:
        restore_depth(module)
