"""Padding modules: depth gets what height gets."""

from typing import Any

from torch import nn

from lean3d.convert.lift import Lift, Site
from lean3d.convert.rules import rule

__all__: list[str] = []

PADS: dict[type, Any] = {
    nn.ReflectionPad2d: nn.ReflectionPad3d,
    nn.ReplicationPad2d: nn.ReplicationPad3d,
    nn.CircularPad2d: nn.CircularPad3d,
    nn.ZeroPad2d: nn.ZeroPad3d,
}


@rule(Lift, *PADS)
def pad(module: Any, site: Site) -> nn.Module:
    kind = next(PADS[base] for base in type(module).__mro__ if base in PADS)
    return kind(_with_depth(module))


@rule(Lift, nn.ConstantPad2d)
def constant_pad(module: nn.ConstantPad2d, site: Site) -> nn.Module:
    return nn.ConstantPad3d(_with_depth(module), module.value)


def _with_depth(module: Any) -> tuple[int, int, int, int, int, int]:
    left, right, top, bottom = module.padding
    return (left, right, top, bottom, top, bottom)
