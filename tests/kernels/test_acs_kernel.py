"""The ACS kernel gives the operator's output and gradients."""

import pytest
import torch

from lean3d.kernels.acs import Geometry, acs_conv3d, acs_input_grad, acs_weight_grad
from lean3d.kernels.blocks import Blocks
from lean3d.ops import ACSConv3d

pytest.importorskip("triton")
SMALL = Blocks(64, 16, 16, 4, 2)

# inputs, outputs, then the operator's arguments
CASES = {
    "same": (5, 7, dict(kernel_size=3, padding=1)),
    "strides": (17, 9, dict(kernel_size=3, padding=(1, 0, 2), stride=(1, 2, 2))),
    "oblong": (4, 6, dict(kernel_size=(3, 3, 5), padding=(1, 1, 2))),
    "even": (3, 8, dict(kernel_size=2, padding="same", dilation=2)),
    "empty view": (3, 4, dict(kernel_size=3, split=(3, 0, 1))),
}


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients_are_those_of_the_operator(name, kernel_device, precise):
    inputs, outputs, arguments = CASES[name]
    op = ACSConv3d(inputs, outputs, path="views", **arguments).to(kernel_device)
    x = torch.randn(1, inputs, 4, 5, 6, device=kernel_device, requires_grad=True)
    y = op(x)
    geometry = Geometry.of(op, tuple(x.shape[2:]))
    assert geometry.size == tuple(y.shape[2:])
    grad = torch.randn_like(y)
    wanted = torch.autograd.grad(y, [x, op.weight], grad)
    with torch.no_grad():
        total = torch.randn_like(y)
        more = acs_conv3d(x, op.weight, None, geometry, total=total, relu=True, blocks=SMALL)
        expected = (y - op.bias.view(-1, 1, 1, 1) + total).relu()
        torch.testing.assert_close(more, expected, atol=1e-4, rtol=1e-4)
        found = acs_conv3d(x, op.weight, op.bias, geometry, blocks=SMALL)
        torch.testing.assert_close(found, y.detach(), atol=1e-4, rtol=1e-4)
        got_x = acs_input_grad(grad, op.weight, tuple(x.shape[2:]), geometry, blocks=SMALL)
        got_weight = acs_weight_grad(grad, x, op.weight, geometry, blocks=SMALL)
    torch.testing.assert_close(got_x, wanted[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(got_weight, wanted[1], atol=3e-4, rtol=1e-4)
    assert found.is_contiguous(memory_format=torch.channels_last_3d)
