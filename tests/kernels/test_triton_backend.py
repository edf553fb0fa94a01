"""The backend "triton" fuses convolutions and gives the network's output."""

import pytest
import torch
from torch import nn

from lean3d import optimize
from lean3d.ops import ACSConv3d
from lean3d.runtime.gpu_conv import GpuACS, GpuConv

pytest.importorskip("triton")


class Block(nn.Module):
    """Convolutions with all that may follow them."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv3d(1, 4, 3, 2, 1)
        self.acs = ACSConv3d(4, 4, 3, padding=1, path="views")
        self.norm = nn.BatchNorm3d(4)
        self.depthwise = nn.Conv3d(4, 4, 3, padding=1, groups=4, bias=False)
        self.late = nn.BatchNorm3d(4)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        y = torch.relu(self.norm(self.acs(x)))
        y = torch.relu(self.depthwise(y) + x)
        # a norm that no convolution can take in, then a sum and a ReLU
        return torch.relu(self.late(y) + x), torch.relu(y + x)


def network(device):
    model = Block().eval()
    for norm in (model.norm, model.late):
        nn.init.uniform_(norm.running_var, 0.5, 2)
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
    return model.to(device)


def test_a_network_is_fused_and_equal_at_other_sizes(kernel_device, precise):
    model = network(kernel_device)
    x = torch.randn(1, 1, 5, 6, 7, device=kernel_device)
    fast = optimize(model, x, backends=["triton"], budget_s=600)
    assert fast.backend == "triton", fast.report()
    modules = list(fast.runner.modules())
    assert sum(isinstance(m, GpuACS) for m in modules) == 1
    assert sum(isinstance(m, GpuConv) for m in modules) == 3
    calls = [node for node in fast.runner.graph.nodes if node.op == "call_function"]
    names = [str(node.target) for node in calls]
    left = [name for name in names if any(w in name for w in ("conv3d", "relu", "batch_norm"))]
    assert left == []
    other = torch.randn(2, 1, 4, 5, 8, device=kernel_device)
    for found, expected in zip(fast.runner(other), model(other), strict=True):
        torch.testing.assert_close(found, expected.detach(), atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="the interpreter has no bfloat16")
def test_half_precision_is_near(kernel_device):
    model = network(kernel_device)
    x = torch.randn(1, 1, 4, 4, 5, device=kernel_device)
    fast = optimize(model, x, precision="bfloat16", backends=["triton"], budget_s=600)
    row = next(row for row in fast.table if row.backend == "triton")
    assert row.note == ""
    assert 1e-6 < row.error < 5e-2
    assert all(y.dtype == torch.float32 for y in fast.runner(x))


def test_without_a_gpu_it_says_so():
    fast = optimize(nn.Conv3d(1, 2, 3), torch.randn(1, 1, 4, 4, 4), backends=["triton"])
    assert fast.backend == "eager"
    assert "CUDA device" in fast.table[-1].note
