"""Channel-separated networks: every 3x3x3 kernel of ResNet3D is depthwise.

Paper: Tran et al., Video Classification with Channel-Separated Convolutional Networks (CSN),
arXiv:1904.02811, Sec 3.3 and Table 2
Differs from the paper: batch norm has the epsilon 1e-5 of PyTorch, theirs is 1e-3. Between ip's
1x1x1 and 3x3x3 there is a batch norm without ReLU, as in the authors' code; with relu=True there is
the ReLU of Figure 2.
"""

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Literal

from torch import nn

from lean3d.errors import LeanError
from lean3d.models.blocks import WIDTHS, Conv, VideoResNet, depthwise
from lean3d.models.registry import register_models
from lean3d.models.resnet3d import resnet3d

__all__ = ["csn", "preserved"]

SOURCE = "CSN, arXiv:1904.02811, Table 2"
SHAPE = (1, 3, 8, 224, 224)


def preserved(
    in_channels: int, out_channels: int, *args, conv: Conv, relu: bool = False, **kwargs
) -> nn.Sequential:
    """The interaction-preserved pair: 1x1x1, batch norm, a depthwise k x k x k operator.

    Args:
        relu: A ReLU before the depthwise operator; the names of weights are the same.
    """
    parts: dict[str, nn.Module] = {
        "0": nn.Conv3d(in_channels, out_channels, 1, bias=False),
        "1": nn.BatchNorm3d(out_channels),
        **({"relu": nn.ReLU(inplace=True)} if relu else {}),
        "2": depthwise(conv)(out_channels, out_channels, *args, **kwargs),
    }
    return nn.Sequential(OrderedDict(parts))


@register_models(
    {f"ir_csn_{depth}": dict(depth=depth, mode="ir") for depth in (26, 50, 101, 152)},
    "Interaction-reduced CSN of {depth} layers: depthwise 3x3x3",
    SOURCE,
    SHAPE,
)
@register_models(
    {f"ip_csn_{depth}": dict(depth=depth, mode="ip") for depth in (26, 50, 101, 152)},
    "Interaction-preserved CSN of {depth} layers: 1x1x1, depthwise 3x3x3",
    SOURCE,
    SHAPE,
)
def csn(
    depth: int,
    mode: Literal["ir", "ip"],
    *,
    in_channels: int = 3,
    num_classes: int = 400,
    widths: Sequence[int] = WIDTHS,
    conv: Conv = nn.Conv3d,
    pool1: bool = True,
    relu: bool = False,
) -> VideoResNet:
    """ir-CSN or ip-CSN.

    Args:
        conv: The operator of every 3x3x3 kernel; it is given as many groups as channels.
        pool1: Whether a pool follows the stem.
        relu: Of ip alone: a ReLU between its 1x1x1 and 3x3x3, as in Figure 2.
    """
    if relu and mode == "ir":
        raise LeanError(
            f"ir_csn_{depth} has no 1x1x1 before its 3x3x3; relu is for ip_csn_{depth} alone"
        )
    separated = partial(preserved, conv=conv, relu=relu) if mode == "ip" else depthwise(conv)
    sizes = dict(in_channels=in_channels, num_classes=num_classes)
    return resnet3d(depth, **sizes, widths=widths, conv=separated, pool1=pool1)
