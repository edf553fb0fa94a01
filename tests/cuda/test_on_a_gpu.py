"""On a GPU, answers are those on the CPU. Skipped where there is none."""

import copy

import pytest
import torch
from torch import nn

import lean3d
from lean3d import ops
from lean3d.kernels import acs, choice

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture(autouse=True)
def precise(monkeypatch):
    """Single precision, so that answers can be compared."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


def near(found, expected, tolerance=1e-4):
    found, expected = found.detach().cpu().double(), expected.detach().cpu().double()
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= tolerance * float(expected.abs().max())


def same_on_both(op, x):
    """Output and gradients, on the CPU and on the GPU."""
    results = []
    for device in ("cpu", "cuda"):
        own, given = copy.deepcopy(op).to(device), x.to(device).requires_grad_()
        y = own(given)
        grads = torch.autograd.grad(y.square().mean(), [given, *own.parameters()])
        results.append([y, *grads])
    for theirs, ours in zip(*results, strict=True):
        near(ours, theirs)


OPERATORS = ["ACSConv3d", "MeanACSConv3d", "SoftACSConv3d", "PlanarConv3d", "SpaceTimeConv3d"]
OPERATORS += ["ParallelSeparableConv3d", "ChannelSeparatedConv3d", "AtomConv3d", "CausalConv3d"]


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("measured", [False, True])
def test_an_operator_gives_the_output_and_gradients_of_the_cpu(name, measured, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", measured)
    op = getattr(ops, name)(16, 24, 3, padding=1).eval()
    same_on_both(op, torch.randn(2, 16, 7, 9, 10))


@pytest.mark.parametrize("arguments", [dict(padding=1), dict(padding=1, stride=2), {}], ids=str)
def test_the_triton_path_is_that_of_the_cpu(arguments):
    op = ops.ACSConv3d(64, 64, 3, path="triton", **arguments)
    same_on_both(op, torch.randn(2, 64, 9, 11, 13))


def test_every_tile_runs_and_gives_the_same():
    op = ops.ACSConv3d(64, 64, 3, padding=1).cuda()
    x = torch.randn(1, 64, 10, 12, 14, device="cuda")
    geometry = acs.Geometry.of(op, (10, 12, 14))
    with torch.no_grad():
        expected = op(x)
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.bfloat16, 2e-2)):
        given = x.to(dtype), op.weight.detach().to(dtype), op.bias.detach().to(dtype)
        for blocks in acs.FORWARD:
            near(acs.acs_conv3d(*given, geometry, blocks=blocks), expected, tolerance)


@pytest.mark.parametrize("measured", [False, True])
def test_a_converted_network_gives_the_output_of_the_cpu(measured, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", measured)
    flat = lean3d.create_model("unet2d", widths=(8, 16), num_classes=3)
    deep = lean3d.convert(flat, lean3d.ACS()).eval()
    x = torch.randn(1, 1, 16, 24, 20)
    near(copy.deepcopy(deep).cuda()(x.cuda()), deep(x))
    again = lean3d.convert(flat.cuda(), lean3d.ACS()).eval()
    near(again(x.cuda()), deep(x))


def test_a_network_trains_as_on_the_cpu():
    model = nn.Sequential(ops.ACSConv3d(1, 16, 3, padding=1), nn.BatchNorm3d(16), nn.ReLU())
    model.append(ops.ChannelSeparatedConv3d(16, 16, 3, padding=1, mode="ir"))
    x, losses = torch.randn(2, 1, 8, 10, 12), []
    for device in ("cpu", "cuda"):
        own = copy.deepcopy(model).to(device)
        optimiser = torch.optim.SGD(own.parameters(), 0.1)
        steps = []
        for _ in range(4):
            optimiser.zero_grad()
            loss = own(x.to(device)).square().mean()
            loss.backward()
            optimiser.step()
            steps.append(float(loss.detach()))
        losses.append(steps)
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert losses[0][-1] < losses[0][0]


@pytest.mark.parametrize("name", ["d_resnet_18", "ir_csn_50"])
def test_optimize_gives_the_output_of_the_cpu(name):
    model = lean3d.create_model(name, num_classes=5).eval()
    x = torch.randn(1, 3, 4, 64, 64)
    fast = lean3d.optimize(copy.deepcopy(model).cuda(), x.cuda(), budget_s=40)
    print(fast.report())
    near(fast(x.cuda()), model(x), 1e-3)
    rows = {row.backend: row for row in fast.table}
    for backend in ("cuda_graph", "triton", "triton_cuda_graph"):
        assert rows[backend].note == "", fast.report()
    other = torch.randn(2, 3, 6, 48, 64)
    near(fast(other.cuda()), model(other), 1e-3)
    near(fast(other.cuda()), model(other), 1e-3)
    assert fast.backend != "eager"


@pytest.mark.parametrize("wait", [False, True])
def test_steps_of_a_stream_are_those_of_the_cpu_and_of_its_graph(wait):
    if wait:
        model = nn.Sequential(nn.Conv3d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv3d(8, 4, 3)).eval()
    else:
        model = lean3d.create_model("d_resnet_18", num_classes=5).eval()
    frames = torch.rand(6, 2, 3, 64, 64)
    live = lean3d.stream(model, wait=wait, frame=(3, 64, 64))
    there = lean3d.stream(copy.deepcopy(model).cuda(), wait=wait, frame=(3, 64, 64))
    fast = lean3d.optimize(there, frames[0].cuda(), backends=["cuda_graph"])
    print(fast.report())
    assert fast.backend == "cuda_graph", fast.report()
    states = live.init(2), there.init(2), fast.init(2)
    for frame in frames:
        outputs = []
        for own, at in ((live, 0), (there, 1), (fast, 2)):
            output, state = own.step(frame.to("cuda" if at else "cpu"), states[at])
            states = tuple(state if i == at else old for i, old in enumerate(states))
            outputs.append(output)
        held = ~outputs[0].isnan()
        for output in outputs[1:]:
            assert bool((output.isnan().cpu() == ~held).all())
            if held.any():
                near(output.cpu()[held], outputs[0][held], 1e-3)


def test_choices_are_kept(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    op = ops.ACSConv3d(32, 32, 3, padding=1).cuda()
    x = torch.randn(1, 32, 8, 8, 9, device="cuda")
    op(x)
    known = choice.choices()
    assert any(case[0] == "acs" for case in known)
    op(x)
    assert choice.choices() == known
