"""Norm, sum and ReLU in one pass."""

import pytest
import torch

from lean3d.kernels import scale_add_relu

pytest.importorskip("triton")


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("given", [(), ("scale",), ("shift", "total"), ("scale", "shift", "total")])
@pytest.mark.parametrize("relu", [False, True])
def test_the_result_is_that_of_torch(given, relu, last, kernel_device):
    x, total = torch.randn(2, 2, 5, 3, 7, 4, device=kernel_device)
    if last:
        x = x.contiguous(memory_format=torch.channels_last_3d)
    own = dict(scale=torch.randn(5), shift=torch.randn(5))
    parts = {name: value.to(kernel_device) for name, value in own.items()} | dict(total=total)
    used = {name: parts[name] for name in given}
    y = scale_add_relu(x, relu=relu, **used)
    expected = x * (parts["scale"].view(-1, 1, 1, 1) if "scale" in used else 1)
    expected = expected + (parts["shift"].view(-1, 1, 1, 1) if "shift" in used else 0)
    expected = expected + (total if "total" in used else 0)
    torch.testing.assert_close(y, expected.relu() if relu else expected)


def test_what_is_not_a_number_stays_so(kernel_device):
    x = torch.tensor([[float("nan"), -1.0, 2.0]], device=kernel_device)
    y = scale_add_relu(x, relu=True)
    assert y.isnan().tolist() == [[True, False, False]]
    assert y[0, 1:].tolist() == [0.0, 2.0]
