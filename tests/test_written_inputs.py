"""A network may write into its input: each run gets one of its own, and the caller's stays."""

import pytest
import torch
from torch import nn

import lean3d
from lean3d.cost import bench
from lean3d.infer import export_network


class Standardised(nn.Module):
    """In place, as in many a forward; run twice on one tensor it gives two answers."""

    def __init__(self, conv, channels=8):
        super().__init__()
        self.first = conv(1, channels, 3, padding=1)
        self.last = conv(channels, 4, 3, padding=1)

    def forward(self, x):
        x = x.sub_(1).div_(2)
        return self.last(torch.relu(self.first(x)))


def network(conv=nn.Conv3d, **more):
    torch.manual_seed(0)
    return Standardised(conv, **more).eval()


def delayed():
    return lean3d.stream(network(), wait=True, frame=(1, 8, 8))


WAYS = {
    "convert": lambda x: lean3d.convert(network(nn.Conv2d), lean3d.ACS(), example=x),
    "cut": lambda x: lean3d.convert(network(), lean3d.SpaceTime(), example=x),
    "fold": lambda x: lean3d.fold(network(), example=x),
    "optimize": lambda x: lean3d.optimize(network(), x, backends=["fused"]),
    "optimize a stream": lambda x: lean3d.optimize(delayed(), x[:, :, 0], backends=["fused"]),
    "bench": lambda x: bench({"network": network()}, x, rounds=1),
    "lighten": lambda x: lean3d.lighten(network(), x, macs=0.6),
    "lighten time": lambda x: lean3d.lighten(
        network(channels=32), x, time=0.9, backends=["eager"], cuts=["channels"], table=None
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_example_is_left_as_it_was(way):
    x = torch.randn(1, 1, 6, 8, 8)
    before = x.clone()
    WAYS[way](x)
    assert torch.equal(x, before)


@torch.no_grad()
def test_what_is_optimised_answers_as_the_network():
    x = torch.randn(1, 1, 6, 8, 8)
    fast = lean3d.optimize(network(), x, backends=["fused"])
    torch.testing.assert_close(fast(x.clone()), network()(x.clone()))


@torch.no_grad()
def test_a_delayed_stream_answers_as_the_network():
    video = torch.randn(1, 1, 12, 8, 8)
    live = delayed()
    state, answers = live.init(height=8, width=8), []
    for frame in video.clone().split(1, dim=2):
        answer, state = live.step(frame, state)
        answers.append(answer)
    found = torch.cat(answers, dim=2)[:, :, live.delay :]
    wanted = network()(video.clone())[:, :, : found.shape[2]]
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_samples_of_lighten_are_left_as_they_were_and_forms_fitted_to_them():
    x, data = torch.randn(1, 1, 6, 8, 8), torch.randn(4, 1, 6, 8, 8)
    before = x.clone(), data.clone()
    light = lean3d.lighten(network(), x, macs=0.6, data=data)
    assert torch.equal(x, before[0])
    assert torch.equal(data, before[1])

    class Apart(Standardised):
        def forward(self, x):
            return super().forward(x.clone())

    torch.manual_seed(0)
    other = lean3d.lighten(Apart(nn.Conv3d).eval(), x, macs=0.6, data=data)
    with torch.no_grad():
        torch.testing.assert_close(light(x.clone()), other(x))


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_an_exported_file_answers_as_the_network(tmp_path, suffix):
    made = export_network(network(), tmp_path / f"net{suffix}", (1, 1, 6, 8, 8))
    assert made.path.is_file()
    assert made.largest_difference < 1e-4
