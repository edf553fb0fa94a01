import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lean3d.ops import ACSConv3d, MeanACSConv3d, PlanarConv3d, SoftACSConv3d


def test_outputs_see_the_axial_then_the_coronal_then_the_sagittal_plane():
    op = ACSConv3d(1, 10, 3, padding=1, bias=False, split=(4, 3, 3))
    x = torch.zeros(1, 1, 5, 5, 5)
    x[0, 0, 2, 2, 2] = 1
    reach = [(y.abs() > 0).nonzero() for y in op(x)[0]]
    still = [int((seen == 2).all(0).nonzero()) for seen in reach]
    assert still == [0] * 4 + [1] * 3 + [2] * 3


@pytest.mark.parametrize(
    ("channels", "split"), [(9, (3, 3, 3)), (10, (4, 3, 3)), (11, (4, 4, 3)), (2, (1, 1, 0))]
)
def test_splits_in_thirds_and_gives_the_remainder_to_the_first(channels, split):
    assert ACSConv3d(2, channels, 3).split == split


def test_a_2d_checkpoint_loads_and_its_answer_returns_on_each_plane():
    flat = nn.Conv2d(3, 9, 3, padding=1)
    op = ACSConv3d(3, 9, 3, padding=1)
    op.load_state_dict(flat.state_dict())
    x_BCDHW = torch.randn(1, 3, 6, 7, 8)
    y = op(x_BCDHW)
    torch.testing.assert_close(y[:, :3, 2], flat(x_BCDHW[:, :, 2])[:, :3])
    torch.testing.assert_close(y[:, 3:6, :, 4], flat(x_BCDHW[:, :, :, 4])[:, 3:6])
    torch.testing.assert_close(y[:, 6:, ..., 5], flat(x_BCDHW[..., 5])[:, 6:])


def test_outputs_of_one_view_are_convolved_on_its_plane_alone():
    op = ACSConv3d(3, 1, 3)
    assert op.split == (1, 0, 0)
    with FlopCounterMode(display=False) as counter:
        op(torch.randn(1, 3, 3, 3, 3))
    assert counter.get_total_flops() == 2 * 3 * 9


@pytest.mark.parametrize("split", [(4, 4, 4), (9, 2, -1), (5, 5)])
def test_refuses_a_split_that_does_not_sum_to_the_outputs(split):
    with pytest.raises(ValueError, match=r"sums to out_channels=10|a tuple of 3"):
        ACSConv3d(2, 10, 3, split=split)


@pytest.mark.parametrize("operator", [ACSConv3d, MeanACSConv3d, SoftACSConv3d])
def test_refuses_a_kernel_no_2d_kernel_can_be(operator):
    with pytest.raises(ValueError, match="kernel depth must equal height"):
        operator(2, 6, (1, 3, 3))


def test_refuses_an_unknown_path():
    with pytest.raises(ValueError, match="views, dense"):
        ACSConv3d(2, 6, 3, path="fast")


def test_refuses_an_unknown_axis():
    with pytest.raises(ValueError, match="0 depth"):
        PlanarConv3d(2, 6, 3, axis=3)


@pytest.mark.parametrize("operator", [ACSConv3d, MeanACSConv3d, SoftACSConv3d])
def test_a_1x1x1_kernel_is_one_pointwise_convolution(operator):
    op = operator(4, 9, 1)
    x = torch.randn(2, 4, 3, 4, 5)
    torch.testing.assert_close(op(x), F.conv3d(x, op.weight.unsqueeze(2), op.bias))


@pytest.mark.parametrize("size", [(2, 24, 36, 36, 36), (1, 24, 6, 6, 6), (1, 24, 40, 40, 40)])
def test_every_choice_of_path_and_layout_gives_the_same_answer_and_gradient(size):
    x = torch.randn(size, requires_grad=True)
    outs = []
    for path in (None, "views", "dense"):
        torch.manual_seed(0)
        op = ACSConv3d(24, 24, 3, padding=1, path=path)
        y = op(x)
        outs.append((y, *torch.autograd.grad(y.square().mean(), [x, op.weight])))
        with torch.no_grad():
            torch.testing.assert_close(op(x), y, atol=1e-4, rtol=1e-4)
    for other in outs[1:]:
        torch.testing.assert_close(outs[0], other, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("path", [None, "views", "dense"])
def test_depthwise_answers_the_same_with_and_without_gradients(path):
    op = ACSConv3d(9, 9, 3, padding=1, groups=9, path=path)
    x = torch.randn(2, 9, 5, 6, 7)
    with torch.no_grad():
        quiet = op(x)
    torch.testing.assert_close(quiet, op(x))
    torch.testing.assert_close(quiet, F.conv3d(x, op.dense_weight(), op.bias, padding=1, groups=9))


def test_soft_acs_starts_as_mean_acs():
    soft, mean = SoftACSConv3d(2, 6, 3), MeanACSConv3d(2, 6, 3)
    mean.load_state_dict({k: v for k, v in soft.state_dict().items() if k != "views"})
    x = torch.randn(1, 2, 5, 5, 5)
    torch.testing.assert_close(soft(x), mean(x))


def test_soft_acs_learns_to_prefer_a_view():
    soft, planar = SoftACSConv3d(2, 6, 3), PlanarConv3d(2, 6, 3, axis=1)
    planar.load_state_dict({k: v for k, v in soft.state_dict().items() if k != "views"})
    with torch.no_grad():
        soft.views[:, 1] = 60
    x = torch.randn(1, 2, 5, 5, 5)
    torch.testing.assert_close(soft(x), planar(x))


def test_a_large_volume_of_one_channel_gives_a_map_that_the_next_operator_need_not_copy():
    first, second = ACSConv3d(1, 24, 3, padding=1), ACSConv3d(24, 24, 3, padding=1)
    x = torch.randn(1, 1, 32, 32, 33)
    y = first(x)
    assert y.is_contiguous(memory_format=torch.channels_last_3d)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        second(y)
    maps = {t.data_ptr() for t in kept if t.shape == y.shape}
    assert maps == {y.data_ptr()}
    small = x[..., :5]
    torch.testing.assert_close(first(small)[..., :4], y[..., :4], atol=1e-5, rtol=1e-4)
