import pytest
import torch
from torch import nn

from lean3d.ops import ParallelSeparableConv3d


@pytest.mark.parametrize("channels", [(16, 32), (64, 64), (7, 5)])
def test_one_stream_has_the_parameters_of_conv3d_up_to_rounding(channels):
    ins, outs = channels
    op = ParallelSeparableConv3d(ins, outs, 3, bias=False)
    dense = nn.Conv3d(ins, outs, 3, bias=False).weight.numel()
    count = sum(p.numel() for p in op.parameters())
    assert dense - (9 * ins + 3 * outs) < count <= dense


@pytest.mark.parametrize("streams", [1, 2, 3])
def test_filters_are_eqn_5_scaled_by_the_streams(streams):
    op = ParallelSeparableConv3d(64, 64, 3, streams=streams)
    assert op.filters == 64 * 64 * 27 // (64 * 9 + 64 * 3) // streams


@pytest.mark.parametrize("streams", [1, 2, 3])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_has_the_parameters_the_text_says_read_literally(streams, depth):
    ins, outs = 24, 36
    op = ParallelSeparableConv3d(ins, outs, 3, bias=False, streams=streams, depth=depth)
    filters = ins * outs * 27 // (ins * 9 + outs * 3) // streams
    planes = 9 * ins * filters + (depth - 1) * 9 * filters**2
    expected = streams * (planes + 3 * filters * outs // streams)
    assert sum(p.numel() for p in op.parameters()) == expected


def test_filters_can_be_set():
    assert ParallelSeparableConv3d(4, 8, 3, streams=2, filters=5).filters == 5


def higher_order_svd(kernel):
    """S and U_1..U_3 of a (D, H, W, C) kernel: kernel = S x_1 U_1 x_2 U_2 x_3 U_3 (Sec 3.1)."""
    bases = [torch.linalg.svd(kernel.movedim(k, 0).flatten(1))[0] for k in range(3)]
    return torch.einsum("dhwc,di,hj,wk->ijkc", kernel, *bases), bases


def separable_parts(kernel):
    """Eqn 2 and 3: each singular value goes to one axis, each slice of S is separable."""
    core, bases = higher_order_svd(kernel)
    i, j, k = torch.meshgrid(*(torch.arange(3),) * 3, indexing="ij")
    owner = (i + j + k) % 3
    for axis in range(3):
        mine = core * (owner == axis)[..., None]
        others = [b if a != axis else torch.eye(3, dtype=b.dtype) for a, b in enumerate(bases)]
        spread = torch.einsum("ijkc,di,hj,wk->dhwc", mine, *others)
        yield axis, [(bases[axis][:, b], spread.select(axis, b)) for b in range(3)]


def test_three_streams_without_relu_represent_any_3d_kernel_by_its_hosvd():
    ins, outs = 4, 5
    target = torch.randn(outs, ins, 3, 3, 3, dtype=torch.float64)
    settings = dict(padding=1, bias=False, dtype=torch.float64)
    options = dict(streams=3, filters=3 * outs, relu=False, join="sum")
    op = ParallelSeparableConv3d(ins, outs, 3, **settings, **options)
    with torch.no_grad():
        for stream in op.streams:
            stream[0].weight.zero_()
            stream[2].weight.zero_()
        for out in range(outs):
            for axis, parts in separable_parts(target[out].permute(1, 2, 3, 0)):
                plane, line = op.streams[axis][0].weight, op.streams[axis][2].weight
                for b, (vector, matrix) in enumerate(parts):
                    row = 3 * out + b
                    plane[row] = matrix.permute(2, 0, 1).reshape(plane.shape[1:])
                    line[out, row] = vector.reshape(line.shape[2:])
    dense = nn.Conv3d(ins, outs, 3, **settings)
    with torch.no_grad():
        dense.weight.copy_(target)
    x = torch.randn(2, ins, 5, 6, 7, dtype=torch.float64)
    torch.testing.assert_close(op(x), dense(x))
    used = [float(p.detach().abs().sum()) for p in op.parameters()]
    assert min(used) > 0


def test_the_relu_between_plane_and_line_is_there_unless_turned_off():
    x = torch.randn(1, 2, 5, 5, 5)
    bent = ParallelSeparableConv3d(2, 3, 3, bias=False)
    straight = ParallelSeparableConv3d(2, 3, 3, bias=False, relu=False)
    straight.load_state_dict(bent.state_dict())
    torch.testing.assert_close(straight(-x), -straight(x))
    assert not torch.allclose(bent(-x), -bent(x))


@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("more", [{}, dict(join="sum"), dict(relu=False), dict(norm=True)], ids=str)
def test_outputs_of_any_unit_start_as_large_as_those_of_conv3d(streams, depth, more):
    size = dict(padding=1, padding_mode="circular", bias=False, start="outputs")
    torch.manual_seed(0)
    with torch.no_grad():
        draws = [
            ParallelSeparableConv3d(48, 48, 3, streams=streams, depth=depth, **size, **more)(
                torch.randn(1, 48, 3, 3, 3)
            )
            for _ in range(16)
        ]
    # its weights have a variance of 1 / (3 fan_in)
    assert torch.stack(draws).square().mean().sqrt().item() == pytest.approx(3**-0.5, rel=0.1)


def test_the_bias_starts_within_the_bounds_of_conv3d():
    op = ParallelSeparableConv3d(16, 300, 3, filters=2, start="outputs")
    bound = 1 / (16 * 27) ** 0.5
    assert 0.9 * bound < op.bias.abs().max() <= bound


def test_layers_start_as_conv3d_unless_outputs_are_to_be_as_large_as_its():
    torch.manual_seed(0)
    op = ParallelSeparableConv3d(16, 16, 3, depth=2)
    for reset in (False, True):
        if reset:
            op.reset_parameters()
        for layer in (part for part in op.modules() if isinstance(part, nn.Conv3d)):
            bound = layer.weight[0].numel() ** -0.5
            assert layer.weight.abs().max().item() == pytest.approx(bound, rel=0.05)
    with pytest.raises(ValueError, match="start is 'layers' or 'outputs', got str 'kaiming'"):
        ParallelSeparableConv3d(4, 4, 3, start="kaiming")


def test_a_norm_stands_between_each_2d_convolution_and_its_relu():
    kinds = [
        type(layer) for layer in ParallelSeparableConv3d(4, 4, 3, depth=2, norm=True).streams[0]
    ]
    assert kinds == [nn.Conv3d, nn.BatchNorm3d, nn.ReLU] * 2 + [nn.Conv3d]
    with pytest.raises(ValueError, match="without a norm"):
        ParallelSeparableConv3d(4, 4, 3, relu=False, norm=True).dense_weight()


def test_n_2d_convolutions_see_further_in_the_plane_and_not_along_the_line():
    op = ParallelSeparableConv3d(1, 1, 3, padding=1, depth=2, filters=2, relu=False, bias=False)
    with torch.no_grad():
        for parameter in op.parameters():
            parameter.fill_(1)
    x = torch.zeros(1, 1, 9, 9, 9)
    x[0, 0, 4, 4, 4] = 1
    reach = (op(x)[0, 0] != 0).nonzero()
    assert (reach.amax(0) - reach.amin(0) + 1).tolist() == [3, 5, 5]


@pytest.mark.parametrize("bad", [dict(streams=0), dict(streams=4), dict(depth=0)])
def test_refuses_streams_and_depths_that_do_not_exist(bad):
    with pytest.raises(ValueError, match="streams is 1, 2 or 3"):
        ParallelSeparableConv3d(4, 8, 3, **bad)


def test_refuses_more_streams_than_outputs_and_filters_that_do_not_group():
    with pytest.raises(ValueError, match="as many outputs"):
        ParallelSeparableConv3d(4, 2, 3, streams=3)
    with pytest.raises(ValueError, match="multiple of groups=2"):
        ParallelSeparableConv3d(4, 8, 3, groups=2, filters=3)


def test_a_sum_takes_any_number_of_outputs_and_has_one_bias():
    op = ParallelSeparableConv3d(4, 1, 3, padding=1, streams=3, join="sum")
    assert op(torch.randn(1, 4, 5, 5, 5)).shape == (1, 1, 5, 5, 5)
    assert [name for name, _ in op.named_parameters() if "bias" in name] == ["streams.0.2.bias"]
    with pytest.raises(ValueError, match="join is 'concat' or 'sum'"):
        ParallelSeparableConv3d(4, 8, 3, join="mean")


def test_refuses_a_dense_weight_of_what_is_not_linear():
    with pytest.raises(ValueError, match="relu=False and depth=1"):
        ParallelSeparableConv3d(4, 8, 3).dense_weight()
