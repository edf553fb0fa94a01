"""Norms, dropout and softmax: the 3D class takes the same settings."""

from torch import nn

from lean3d.conversion.to3d.base import Site, To3D
from lean3d.conversion.to3d.rules.registry import module_rule
from lean3d.ops.norms import BatchNorm3d

__all__: list[str] = []


@module_rule(To3D, nn.BatchNorm2d)
def batch_norm(norm: nn.BatchNorm2d, site: Site) -> type[nn.Module]:
    return BatchNorm3d


@module_rule(To3D, nn.InstanceNorm2d)
def instance_norm(norm: nn.InstanceNorm2d, site: Site) -> type[nn.Module]:
    return nn.InstanceNorm3d


@module_rule(To3D, nn.Dropout2d)
def dropout(drop: nn.Dropout2d, site: Site) -> type[nn.Module]:
    return nn.Dropout3d


@module_rule(To3D, nn.Softmax2d)
def softmax_over_channels(softmax: nn.Softmax2d, site: Site) -> nn.Module:
    return nn.Softmax(dim=1)


@module_rule(To3D, nn.LayerNorm, nn.RMSNorm)
def last_axis_norm(norm: nn.LayerNorm | nn.RMSNorm, site: Site) -> nn.Module:
    """Channels-last normalisation is independent of depth; one over a fixed image size is not."""
    if len(norm.normalized_shape) > 1:
        size = tuple(norm.normalized_shape)
        raise site.refuse(norm, f"it normalises over {size}, which holds a 2D image size")
    return norm
