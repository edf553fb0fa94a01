"""The ways of ops.fast, against torch's own functions."""

import pytest
import torch

from lean3d.ops.fast import conv3d


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
