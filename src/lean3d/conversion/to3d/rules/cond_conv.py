"""timm's CondConv2d, whose kernel is mixed for every sample."""

from typing import Any

from torch import nn

from lean3d.conversion.to3d.base import Converted, Site, To3D
from lean3d.conversion.to3d.geometry import like_height
from lean3d.conversion.to3d.rules.registry import find_rule, module_rule
from lean3d.ops.cond_conv import RoutedConv3d

__all__: list[str] = []


@module_rule(To3D, "timm.layers.cond_conv2d.CondConv2d")
def routed(conv: Any, site: Site) -> Converted:
    sizes: Any = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups)
    like: Any = dict(bias=conv.bias is not None, device="meta", dtype=conv.weight.dtype)
    plain = nn.Conv2d(conv.in_channels, conv.out_channels, *sizes, **like)
    change = find_rule(plain, site)
    assert change is not None
    result: Any = change(plain, site)
    lifted = result if isinstance(result, Converted) else Converted(result)
    deep, jump, _, apart = like_height(plain, site)
    windows: Any = (deep, *plain.kernel_size), (jump, *plain.stride), (apart, *plain.dilation)
    same = windows if conv.dynamic_padding else None
    routed = RoutedConv3d(lifted.module, site.how, tuple(conv.weight_shape), same)
    for name, parameter in lifted.module._parameters.items():
        if parameter is not None and name not in ("weight", "bias"):  # the views of SoftACS
            routed._parameters[name] = nn.Parameter(conv.weight.new_zeros(parameter.shape))
    return Converted(routed, lifted.exact)
