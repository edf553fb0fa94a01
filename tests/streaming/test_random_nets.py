"""Networks drawn at random from all that streams: steps are the offline pass, to rounding."""

import random

import pytest
import torch
from random_blocks import ALIASES, BLOCKS, CHANNELS, HEADS, KNOWN, head
from stream_law import assert_every_step_is_the_clip
from torch import nn
from torch.utils._pytree import tree_leaves

import lean3d
from lean3d.ops import CausalConv3d, causal_pools, heads
from lean3d.ops.causal_pools import (
    CausalAvgPool3d,
    CausalMaxPool3d,
    LastFrames,
    MaxSoFar,
    MeanSoFar,
    Past,
    RunningMean,
    WithPrevious,
)
from lean3d.ops.heads import EmbeddingHead, MeanHead, RecurrentHead, WindowHead

SIDE, LONGEST_STEP = 6, 12
DRAWN, DRAWN_SLOWLY = 40, 2000


def build(draw, functions, name):
    """A stem, blocks, and a head; never more frames than `LONGEST_STEP` a step."""
    torch.manual_seed(draw.randrange(2**31))
    layers, down, rate = [nn.Conv3d(2, CHANNELS, 1)], 1.0, 1.0
    for function in functions:
        block, times = BLOCKS[function](draw)
        rate *= times
        down = max(down, 1 / rate)
        if down > LONGEST_STEP or rate > 4:
            break
        layers.append(block)
    net = nn.Sequential(*layers, head(name)).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net.double()  # in which rounding is no excuse


def offline(live, video):
    """(T, ...) for every output; None where the network takes no video so short."""
    try:
        return [y[0] for y in tree_leaves(live.run(video[None]))]
    except (IndexError, RuntimeError):
        return None


def played(live, videos, draw):
    """Videos one after the other on each of several streams, steps of any whole number of chunks.

    Returns: what came out of each video.
    """
    chunk, streams = live.chunk, len(videos)
    late = -(-live.delay // chunk)
    queues = [list(enumerate(own)) for own in videos]
    found = [[[] for _ in own] for own in videos]
    state = live.init(streams, height=SIDE, width=SIDE)
    # of each stream: its video, where it is in it, steps to wait before
    now = [None] * streams
    waits = [draw.randrange(3) for _ in range(streams)]
    while any(queues) or any(now):
        x = torch.randn(streams, 2, chunk, SIDE, SIDE, dtype=torch.double)
        for b in range(streams):
            if now[b] is None and waits[b] == 0 and queues[b]:
                now[b] = [*queues[b].pop(0), 0]
                state = live.reset(state, [b])
            if now[b] is None:
                waits[b] = max(waits[b] - 1, 0)
                continue
            _, video, at = now[b]
            part = video[:, at : at + chunk]
            x[b, :, : part.shape[1]] = part
            if at < video.shape[1] <= at + chunk:
                state = live.end(state, [b], after=video.shape[1] - at)
        answer, state = live.step(x, state)
        leaves = tree_leaves(live.found.frames_second(answer, step=True))
        for b in range(streams):
            if now[b] is None:
                continue
            number, video, at = now[b]
            found[b][number].append([y[b] for y in leaves])
            now[b][2] = at + chunk
            if at + chunk >= video.shape[1] + late * chunk:
                now[b], waits[b] = None, draw.randrange(2)
    return [[[torch.cat(y) for y in zip(*steps, strict=True)] for steps in own] for own in found]


def assert_steps_are_the_offline_pass(net, draw):
    live = lean3d.stream(net, wait=True, frame=(2, SIDE, SIDE))
    assert live.chunk <= LONGEST_STEP
    lengths = [[draw.randint(1, 30) for _ in range(draw.randint(1, 2))] for _ in range(3)]
    videos = [[torch.randn(2, n, SIDE, SIDE, dtype=torch.double) for n in own] for own in lengths]
    compared = 0
    for own, out in zip(videos, played(live, videos, draw), strict=True):
        for video, leaves in zip(own, out, strict=True):
            expected = offline(live, video)
            if expected is None:
                continue
            for y, wanted in zip(leaves, expected, strict=True):
                # a mean over no frames is NaN, in a stream as offline
                known, wanted = (z[~z.flatten(1).isnan().any(1)] for z in (y, wanted))
                if live.found.run_axes == (None,):
                    known = known[-1:]
                if not wanted.numel():  # of no frames, in whatever shape
                    assert not known.numel()
                    continue
                scale = max(1.0, float(wanted.abs().max()))
                torch.testing.assert_close(known, wanted, atol=1e-9 * scale, rtol=0)
                compared += 1
    return compared


def draw_net(seed):
    draw = random.Random(seed)
    names = sorted(BLOCKS.keys() - ALIASES, key=repr_of)
    functions = [draw.choice(names) for _ in range(draw.randint(1, 4))]
    name = draw.choice(list(HEADS))
    return build(draw, functions, name), draw


def repr_of(function):
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', function)}"


def test_every_function_that_streams_can_be_drawn():
    assert KNOWN - set(BLOCKS) == set()


@pytest.mark.parametrize("function", sorted(BLOCKS, key=repr_of), ids=repr_of)
def test_each_function_between_two_convolutions(function):
    draw = random.Random(1)
    around = torch.nn.functional.conv3d
    net = build(draw, [around, function, around], "maps")
    assert_steps_are_the_offline_pass(net, draw)


@pytest.mark.parametrize("name", HEADS)
def test_each_head_after_a_convolution(name):
    draw = random.Random(2)
    compared = 0
    for _ in range(2):
        net = build(draw, [torch.nn.functional.conv3d], name)
        compared += assert_steps_are_the_offline_pass(net, draw)
    assert compared


@pytest.mark.parametrize("seed", range(DRAWN))
def test_networks_drawn_at_random(seed):
    net, draw = draw_net(seed)
    assert_steps_are_the_offline_pass(net, draw)


@pytest.mark.parametrize("seed", range(0, DRAWN, 4))
def test_the_step_without_branches_is_the_step(seed):
    net, _ = draw_net(seed)
    live = lean3d.stream(net, wait=True, frame=(2, SIDE, SIDE))
    video = torch.randn(2, 2, 8 * live.chunk, SIDE, SIDE, dtype=torch.double)
    state = other = live.init(2, height=SIDE, width=SIDE)
    for number, frames in enumerate(video.split(live.chunk, dim=2)):
        if number == 5:
            state, other = live.end(state, [1]), live.end(other, [1])
        answer, state = live.step(frames, state)
        with torch.no_grad():
            again, other = live(frames, other)
        for y, z in zip(tree_leaves(again), tree_leaves(answer), strict=True):
            torch.testing.assert_close(y, z, equal_nan=True)
    assert list(state) == list(other)


def first(draw):
    return draw.choice(["replicate", "zeros"])


def causal_conv(draw):
    kernel = (draw.choice([1, 2, 3, 4]), 3, 3)
    size = (kernel, 1, (0, 1, 1), (draw.choice([1, 2]), 1, 1), draw.choice([1, 4]))
    past = size[3][0] * (kernel[0] - 1)
    return CausalConv3d(4, 4, *size, past=past, first=first(draw))


class Gate(nn.Module):
    """Squeeze-and-excitation by the mean of all frames so far."""

    def __init__(self):
        super().__init__()
        self.mean, self.scale = RunningMean(), nn.Conv3d(4, 4, 1)

    def forward(self, x):
        return x * self.scale(self.mean(x)).sigmoid()


class Residual(nn.Module):
    """Two layers whose sum goes on, the first of them called twice."""

    def __init__(self, one, two):
        super().__init__()
        self.one, self.two = one, two

    def forward(self, x):
        return x + self.two(self.one(self.one(x)))


CAUSAL = {
    "conv": causal_conv,
    "AfterPast": lambda draw: nn.Sequential(Past(2, first(draw)), nn.Conv3d(4, 4, (3, 1, 1))),
    "Past": lambda draw: nn.Sequential(Past(1), nn.Conv3d(4, 4, (2, 3, 3), padding=(0, 1, 1))),
    "WithPrevious": lambda draw: WithPrevious(first(draw)),
    "CausalMaxPool3d": lambda draw: CausalMaxPool3d((3, 1, 1), 1, past=2),
    "CausalAvgPool3d": lambda draw: CausalAvgPool3d((2, 1, 1), 1, past=1, first=first(draw)),
    "Gate": lambda draw: Gate(),
    "BatchNorm3d": lambda draw: nn.BatchNorm3d(4),
    "Residual": lambda draw: Residual(causal_conv(draw), causal_conv(draw)),
}


class Features(nn.Module):
    """(B, C, T, H, W) -> (B, C, T) for heads."""

    def forward(self, x):
        return x.mean((3, 4))


CAUSAL_HEADS = {
    "maps": lambda draw: nn.Identity(),
    "WindowHead": lambda draw: nn.Sequential(Features(), WindowHead(4, 3, draw.randint(1, 6))),
    "RecurrentHead": lambda draw: nn.Sequential(
        Features(), RecurrentHead(4, 3, draw.choice(["lstm", "gru"]), draw.choice([1, 2]), 5)
    ),
    "EmbeddingHead": lambda draw: nn.Sequential(
        Features(), EmbeddingHead(4, draw.choice([None, 3]))
    ),
    "MeanHead": lambda draw: nn.Sequential(Features(), MeanHead(4, 3)),
    "MeanSoFar": lambda draw: MeanSoFar(nn.AdaptiveAvgPool3d((None, 1, 1))),
    "LastFrames": lambda draw: LastFrames(nn.AvgPool3d((1, 6, 6)), 3, first(draw)),
    "MaxSoFar": lambda draw: MaxSoFar(nn.AdaptiveMaxPool3d((None, 2, 1))),
    "RunningMax": lambda draw: MaxSoFar(nn.AdaptiveMaxPool3d((None, 1, 1)), last=False),
    "RunningMean": lambda draw: RunningMean(),
}


def test_every_causal_layer_can_be_drawn():
    drawn = set(CAUSAL) | set(CAUSAL_HEADS)
    assert {*causal_pools.__all__, *heads.__all__} - drawn == set()


@pytest.mark.parametrize("seed", range(DRAWN // 2))
def test_causal_networks_drawn_at_random(seed):
    draw = random.Random(seed)
    torch.manual_seed(seed)
    names = [draw.choice(list(CAUSAL)) for _ in range(draw.randint(1, 4))]
    name = list(CAUSAL_HEADS)[seed % len(CAUSAL_HEADS)]
    layers = [CAUSAL[layer](draw) for layer in names]
    net = nn.Sequential(nn.Conv3d(2, 4, 1), *layers, CAUSAL_HEADS[name](draw)).double().eval()
    live = lean3d.stream(net, frame=(2, SIDE, SIDE))
    size = (2, SIDE, SIDE)
    assert_every_step_is_the_clip(live, size, frames=24, resets=0.1, dtype=torch.double)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(DRAWN, DRAWN_SLOWLY, 100))
def test_many_networks_drawn_at_random(first):
    compared = 0
    for seed in range(first, first + 100):
        net, draw = draw_net(seed)
        compared += assert_steps_are_the_offline_pass(net, draw)
    assert compared > 100
