"""Operators on a GPU, here under the interpreter: the forced path, and where it does not run."""

import pytest
import torch

from lean3d.kernels import device, reason
from lean3d.kernels.depthwise import Depthwise, DepthwiseFunction
from lean3d.ops import ACSConv3d

pytest.importorskip("triton")


def test_the_path_triton_trains_as_the_views_do(kernel_device, precise):
    op = ACSConv3d(3, 4, 3, padding=1, path="triton").to(kernel_device)
    plain = ACSConv3d(3, 4, 3, padding=1, path="views").to(kernel_device)
    plain.load_state_dict(op.state_dict())
    x = torch.randn(1, 3, 3, 4, 5, device=kernel_device, requires_grad=True)
    results = []
    for own in (op, plain):
        y = own(x)
        grads = torch.autograd.grad(y.square().sum(), [x, *own.parameters()])
        results.append([y.detach(), *grads])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)
    assert y.grad_fn is not None


def test_it_computes_in_the_precision_of_autocast(kernel_device):
    op = ACSConv3d(3, 4, 3, padding=1, path="triton").to(kernel_device)
    x = torch.randn(1, 3, 3, 4, 5, device=kernel_device, requires_grad=True)
    # Triton's interpreter has no bfloat16
    with torch.autocast(kernel_device.type, torch.float16):
        y = op(x)
    assert y.dtype == torch.float16
    y.float().sum().backward()
    assert x.grad.dtype == op.weight.grad.dtype == torch.float32
    torch.testing.assert_close(y.float(), op(x), atol=0.1, rtol=0.1)


@pytest.mark.parametrize(
    ("channels", "arguments"),
    [
        (4, dict(kernel_size=3, groups=2)),
        (3, dict(kernel_size=3, padding=1, padding_mode="reflect")),
        (3, dict(kernel_size=1)),
    ],
)
def test_what_the_kernel_does_not_do_runs_by_views(channels, arguments, kernel_device):
    op = ACSConv3d(channels, 4, path="triton", **arguments).to(kernel_device)
    x = torch.randn(1, channels, 4, 4, 5, device=kernel_device)
    plain = ACSConv3d(channels, 4, path="views", **arguments).to(kernel_device)
    plain.load_state_dict(op.state_dict())
    torch.testing.assert_close(op(x), plain(x))


def test_without_a_gpu_the_path_triton_runs_by_views():
    op = ACSConv3d(3, 4, 3, path="triton")
    y = op(torch.randn(1, 3, 4, 4, 4))
    assert y.shape == (1, 4, 2, 2, 2)


def test_depthwise_gradients_are_those_of_torch(kernel_device):
    x = torch.randn(1, 3, 3, 4, 4, device=kernel_device, requires_grad=True)
    weight = torch.randn(3, 1, 3, 3, 3, device=kernel_device, requires_grad=True)
    bias = torch.randn(3, device=kernel_device, requires_grad=True)
    sizes = Depthwise((3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1))
    results = []
    for y in (
        DepthwiseFunction.apply(x, weight, bias, sizes),
        torch.nn.functional.conv3d(x, weight, bias, 1, 1, 1, 3),
    ):
        results.append([y, *torch.autograd.grad(y.square().sum(), [x, weight, bias])])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)


def test_what_no_kernel_takes_is_said(monkeypatch):
    x = torch.zeros(1, 1, 2, 2, 2, dtype=torch.float64)
    assert "CUDA device" in reason(x)
    monkeypatch.setattr(device, "interpreted", True)
    assert "float64" in reason(x)
    assert reason(x.float()) is None
    monkeypatch.setattr(device, "is_installed", lambda: False)
    assert "not installed" in reason(x)
