"""Padding: depth gets what height gets.

Axes: B batch, C channels, D depth, H height, W width.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.conversion.to3d.base import Site, To3D
from lean3d.conversion.to3d.merged.call import Call, function_rule
from lean3d.conversion.to3d.merged.sides import along_depth, carries, plain
from lean3d.conversion.to3d.rules.registry import module_rule
from lean3d.conversion.trace.trial_run import in_trial
from lean3d.ops.reflection import ReflectionPad3d

__all__: list[str] = []


PADS: dict[type, Any] = {
    nn.ReflectionPad2d: ReflectionPad3d,
    nn.ReplicationPad2d: nn.ReplicationPad3d,
    nn.CircularPad2d: nn.CircularPad3d,
    nn.ZeroPad2d: nn.ZeroPad3d,
}
MODES: dict[str, Any] = {
    "constant": nn.ConstantPad2d,
    "reflect": nn.ReflectionPad2d,
    "replicate": nn.ReplicationPad2d,
    "circular": nn.CircularPad2d,
}


@module_rule(To3D, *PADS)
def module_pad(module: object, site: Site) -> nn.Module:
    kind = next(PADS[base] for base in type(module).__mro__ if base in PADS)
    return kind(_with_depth(module))


@module_rule(To3D, nn.ConstantPad2d)
def constant_pad(module: nn.ConstantPad2d, site: Site) -> nn.Module:
    return nn.ConstantPad3d(_with_depth(module), module.value)


def _with_depth(module: Any) -> tuple[int, int, int, int, int, int]:
    left, right, top, bottom = module.padding
    return (left, right, top, bottom, top, bottom)


@function_rule(F.pad, neighbours=False)
def pad(call: Call) -> Any:
    """Pad to another map's depth too, if the sides are padded to those, as in a U-Net."""
    given = call.read("input pad mode value", mode="constant", value=None)
    x, pads, mode = given["input"], tuple(given["pad"]), given["mode"]
    if x.ndim != 4 or len(pads) != 4:
        return call.plainly()
    fill = (given["value"] or 0.0,) if mode == "constant" else ()
    volume, sides = call.volume(x), pads[2:]
    pads = plain(pads)
    doubtful, carried = False, carries(*sides) and not call.keep
    ends = along_depth(sides) if carried else _along_depth(call, volume, pads)
    if carried and in_trial():
        doubtful = ends != _along_depth(call, volume, pads)
    y = call.stack.merge_depth(_padded(call, volume, pads, ends, mode, *fill))
    more: Any = {"mode": mode, "value": fill[0] if fill else 0.0, "doubtful": doubtful}
    if min(ends) < 0:
        more["before"] = lambda: _padded(call, volume, pads, (0, 0), mode, *fill)
    call.stack.note_padding(y, ends, **more)
    return y


def _padded(
    call: Call,
    x_BCDHW: Tensor,
    pads: tuple[int, ...],
    ends: tuple[int, int],
    mode: str,
    *fill: float,
) -> Tensor:
    y, (front, back) = x_BCDHW, ends
    if mode == "constant" and call.repeats and min(ends) >= 0:
        y, front, back = F.pad(y, (0, 0, 0, 0, *ends), mode="replicate"), 0, 0
    if (front, back) == pads[2:]:
        return call.module_3d(MODES[mode], pads, *fill)(y)
    deep = (*pads, front, back)
    if mode == "constant":
        return call.module_3d(nn.ConstantPad3d, deep, *fill)(y)
    return F.pad(y, deep, mode)


def _along_depth(call: Call, x_BCDHW: Tensor, pads: tuple[int, ...]) -> tuple[int, int]:
    left, right, top, bottom = pads
    depth, height, width = x_BCDHW.shape[2:]
    known = call.stack.depth_of(height + top + bottom, width + left + right)
    if known is None:
        return (0, 0) if call.keep else (top, bottom)
    grows = known - depth
    if grows == top + bottom:
        return (top, bottom)
    before = grows if top and not bottom else grows // 2
    return (before, grows - before)
