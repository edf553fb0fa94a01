"""Converted networks in other processes: spawned, forked, sharded by FSDP2."""

import copy
import multiprocessing
import os

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from flat_models import SqueezeExcite
from torch import nn
from torch.distributed.fsdp import fully_shard

from lean3d import ACS, Dissect, Inflate, convert


class Block(nn.Module):
    """Its forward assumes 4-D input, and so does that of what it calls."""

    def __init__(self, channels):
        super().__init__()
        self.conv, self.gate = nn.Conv2d(channels, 8, 3, padding=1), SqueezeExcite(8)

    def forward(self, x):
        return F.interpolate(F.max_pool2d(self.gate(self.conv(x)), 2), scale_factor=2.0)


class Causal(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv3d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 2, 3, padding=1))


NETWORKS = {
    "ACS": lambda: convert(nn.Sequential(Block(3), Block(8)), ACS()),
    "Inflate": lambda: convert(nn.Sequential(Block(3), Block(8)), Inflate()),
    "Dissect": lambda: convert(Causal(), Dissect()),
}


def answer(network, x):
    with torch.no_grad():
        return network(x)


@pytest.fixture
def pair():
    torch.manual_seed(0)
    return {name: make().eval() for name, make in NETWORKS.items()}, torch.randn(1, 3, 4, 8, 6)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_another_process_gives_the_same_output(start, pair):
    networks, x = pair
    with multiprocessing.get_context(start).Pool(1) as pool:
        for network in networks.values():
            torch.testing.assert_close(pool.apply(answer, (network, x)), answer(network, x))


class Converting(torch.utils.data.Dataset):
    """Its items are outputs of a converted network."""

    def __init__(self, network, x):
        self.network, self.x = network, x

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return answer(self.network, self.x[:, :, : index + 2])


def test_workers_of_a_loader_use_a_converted_network(pair):
    networks, x = pair
    items = torch.utils.data.DataLoader(
        Converting(networks["ACS"], torch.cat([x, x], 2)), batch_size=None, num_workers=2
    )
    for index, item in enumerate(items):
        torch.testing.assert_close(
            item, answer(networks["ACS"], torch.cat([x, x], 2)[:, :, : index + 2])
        )


@pytest.fixture
def alone(tmp_path):
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.skipif(
    not hasattr(torch.cpu.Stream, "record_event"), reason="this torch shards on GPUs alone"
)
# depth is split off again as a view, which is changed by nothing here
@pytest.mark.filterwarnings("ignore:FSDP2-wrapped module .* returned a view")
@pytest.mark.parametrize("name", NETWORKS)
def test_fsdp2_shards_a_converted_network(alone, pair, name):
    network, x = pair[0][name].train(), pair[1]
    whole = copy.deepcopy(network)
    for child in network:
        fully_shard(child)
    fully_shard(network)
    whole(x).square().mean().backward()
    network(x).square().mean().backward()
    for mine, other in zip(network.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(mine.grad.full_tensor(), other.grad)
