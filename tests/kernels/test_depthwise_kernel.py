"""The depthwise kernel gives torch's convolution and its gradients."""

import pytest
import torch
import torch.nn.functional as F

from lean3d.kernels.depthwise import (
    Depthwise,
    depthwise_conv3d,
    depthwise_input_grad,
    depthwise_weight_grad,
)

pytest.importorskip("triton")

# inputs, outputs, kernel, stride, padding, dilation
CASES = {
    "same": (5, 5, (3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1)),
    "strides": (4, 8, (3, 1, 5), (1, 2, 2), (1, 0, 2), (1, 1, 1)),
    "dilated": (3, 3, (3, 3, 3), (2, 1, 1), (2, 0, 1), (2, 2, 1)),
}


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients_are_those_of_torch(name, last, kernel_device, precise):
    inputs, outputs, *rest = CASES[name]
    sizes = Depthwise(*rest)
    layout = torch.channels_last_3d if last else torch.contiguous_format
    x = torch.randn(2, inputs, 5, 7, 6, device=kernel_device).contiguous(memory_format=layout)
    weight = torch.randn(outputs, 1, *sizes.kernel, device=kernel_device)
    bias = torch.randn(outputs, device=kernel_device)
    plain = x.clone().requires_grad_(), weight.clone().requires_grad_(), bias
    expected = F.conv3d(*plain, sizes.stride, sizes.pad, sizes.dilation, inputs)
    grad = torch.randn_like(expected).contiguous(memory_format=layout)
    wanted = torch.autograd.grad(expected, plain[:2], grad)
    found = depthwise_conv3d(x, weight, bias, sizes)
    torch.testing.assert_close(found, expected.detach(), atol=1e-5, rtol=1e-5)
    assert found.is_contiguous(memory_format=layout)
    got = (
        depthwise_input_grad(grad, weight, x, sizes),
        depthwise_weight_grad(grad, weight, x, sizes),
    )
    for ours, theirs in zip(got, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-5)


def test_the_sum_and_the_relu_are_applied(kernel_device, precise):
    sizes = Depthwise((3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1))
    x, total = torch.randn(2, 1, 3, 4, 3, 5, device=kernel_device)
    weight = torch.randn(3, 1, 3, 3, 3, device=kernel_device)
    found = depthwise_conv3d(x, weight, None, sizes, total=total, relu=True)
    expected = (F.conv3d(x, weight, None, 1, 1, 1, 3) + total).relu()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
