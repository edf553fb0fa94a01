import pytest
import torch
from torch import nn

from lean3d.ops import ChannelSeparatedConv3d


def test_ip_lets_all_channels_interact_and_ir_none():
    x = torch.zeros(1, 4, 5, 5, 5)
    x[0, 0, 2, 2, 2] = 1
    reached = {}
    for mode in ("ip", "ir"):
        op = ChannelSeparatedConv3d(4, 8, 3, padding=1, bias=False, mode=mode)
        reached[mode] = op(x).abs().amax((0, 2, 3, 4)).nonzero().flatten().tolist()
    assert reached == {"ip": list(range(8)), "ir": [0, 1]}


def test_full_group_width_is_conv3d():
    op, dense = ChannelSeparatedConv3d(4, 8, 3, mode="ir", group_width=4), nn.Conv3d(4, 8, 3)
    dense.load_state_dict(op.local.state_dict())
    x = torch.randn(1, 4, 5, 5, 5)
    torch.testing.assert_close(op(x), dense(x))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (dict(mode="id"), "'ip' or 'ir'"),
        (dict(mode="ir", groups=2), "no 1x1x1 convolution to group"),
        (dict(mode="ir", out_channels=6), "multiple of in_channels"),
        (dict(group_width=3), "must divide 8"),
        (dict(group_width=8, groups=2), "must divide 4"),
    ],
    ids=str,
)
def test_refuses_what_cannot_be_separated(bad, says):
    with pytest.raises(ValueError, match=says):
        ChannelSeparatedConv3d(**(dict(in_channels=4, out_channels=8, kernel_size=3) | bad))
