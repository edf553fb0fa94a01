"""The ways of ops.fast, against torch's own functions."""

import pytest
import torch

from lean3d.ops.fast import conv3d, takes_slow_path


@pytest.mark.parametrize("size", [(7, 7, 7), (7, 7, 1), (7, 1, 7), (1, 7, 7)])
def test_the_stem_of_a_thin_volume_has_whole_gradients(size):
    # oneDNN leaves parts unwritten, so what stood in that memory before shows
    pad = tuple(extent // 2 for extent in size)
    for attempt in range(6):
        junk = [torch.full((10**power,), float("nan")) for power in range(3, 7)]
        del junk
        torch.manual_seed(attempt)
        x, kernel = torch.randn(2, 3, 6, 32, 24), torch.randn(8, 3, *size, requires_grad=True)
        conv3d(x, kernel, None, (2, 2, 2), pad, (1, 1, 1), 1).sum().backward()
        exact = kernel.detach().double().requires_grad_()
        torch.nn.functional.conv3d(x.double(), exact, None, 2, pad).sum().backward()
        torch.testing.assert_close(kernel.grad, exact.grad.float(), rtol=1e-4, atol=1e-3)


# not 1x1 in the plane: there ATen leaves oneDNN only where it has one thread
@pytest.mark.parametrize("kernel", [(1, 3, 3), (1, 1, 3), (3, 3, 3), (3, 4, 3), (2, 4, 4)])
@pytest.mark.parametrize("channels", [1, 20, 21])
@pytest.mark.parametrize("side", [31, 32, 33])
@pytest.mark.parametrize(("batch", "groups"), [(1, 1), (2, 1), (1, 0)])
def test_goes_round_the_slow_loop_exactly_where_aten_would_take_it(
    kernel, channels, side, batch, groups
):
    # the bounds in takes_slow_path are copies: this fails when torch moves its own
    groups = groups or channels
    x = torch.empty(batch, channels, side, side, 5)
    weight = torch.empty(channels, channels // groups, *kernel)
    settings = ([1] * 3, [0] * 3, [1] * 3, False, [0] * 3, groups)
    backend = torch._C._select_conv_backend(x, weight, None, *settings)
    leaves_onednn = backend == torch._C._ConvBackend.Slow3d
    assert takes_slow_path(x, weight, groups) == leaves_onednn
