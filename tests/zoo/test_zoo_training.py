"""Converted networks of ten families learn, alone and in two processes."""

import copy
import os
import tempfile

import pytest
import torch
import torch.distributed as dist
from networks import FOUR, build, first, smp_model, timm_model, torchvision_model
from torch.nn.parallel import DistributedDataParallel

from lean3d.conversion import ACS, convert

TEN = {
    "resnet18": torchvision_model("resnet18", num_classes=4),
    "shufflenet_v2_x0_5": torchvision_model("shufflenet_v2_x0_5", num_classes=4),
    "squeezenet1_1": torchvision_model("squeezenet1_1", num_classes=4),
    "mnasnet0_5": torchvision_model("mnasnet0_5", num_classes=4),
    "regnetx_002": timm_model("regnetx_002", num_classes=4),
    "test_convnext": timm_model("test_convnext", num_classes=4),
    "test_efficientnet": timm_model("test_efficientnet", num_classes=4),
    "test_nfnet": timm_model("test_nfnet", num_classes=4),
    "test_mambaout": timm_model("test_mambaout", num_classes=4),
    "unet": smp_model("Unet", decoder_channels=[32, 16, 8, 8, 8], classes=4),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TEN)
def test_three_steps_lower_the_loss(name):
    deep = convert(build(TEN[name]), ACS()).train()
    x = torch.randn(2, 3, 32, 64, 32)
    target = torch.tensor([1, 3])
    optimiser = torch.optim.Adam(deep.parameters(), lr=1e-3)
    losses = []
    for _ in range(4):
        torch.manual_seed(0)  # the same dropout each time
        y = deep(x)
        where = target if y.ndim == 2 else target.view(2, 1, 1, 1).expand(2, *y.shape[2:])
        loss = torch.nn.functional.cross_entropy(y, where)
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[3] < losses[0]


def gradients(model, x):
    first(model(x)).square().mean().backward()
    return [parameter.grad for parameter in model.parameters()]


def one_of_two(rank, folder):
    """Half a batch for each process; save how far its gradient is from that of the whole batch."""
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    worst = {}
    for name, make in FOUR.items():
        deep = convert(build(make), ACS(), accept="unchecked").eval()
        x = torch.randn(2, 3, 32, 32, 32, generator=torch.Generator().manual_seed(0))
        whole = gradients(copy.deepcopy(deep), x)
        halves = gradients(DistributedDataParallel(deep), x[rank : rank + 1])
        pairs = list(zip(whole, halves, strict=True))
        largest = max(gradient.abs().max() for gradient in whole)
        worst[name] = max((a - b).abs().max() / largest for a, b in pairs).item()
    torch.save(worst, f"{folder}/{rank}")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_have_the_gradient_of_the_whole_batch():
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(one_of_two, (folder,), nprocs=2)
        for rank in (0, 1):
            worst = torch.load(f"{folder}/{rank}")
            assert worst.keys() == FOUR.keys()
            assert max(worst.values()) < 1e-4
