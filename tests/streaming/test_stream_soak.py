"""Streams that run for long neither grow nor drift."""

import pytest
import torch
from causal_nets import build
from torch import nn
from waiting_nets import build as build_waiting

import lean3d
from lean3d.ops import CausalConv3d
from lean3d.ops.causal_pools import RunningMean

STEPS, WARM = 10_000, 500


def resident():
    """Bytes of memory this process holds."""
    import psutil

    return psutil.Process().memory_info().rss


@pytest.mark.slow
@pytest.mark.parametrize("name", ["residual", "window"])
def test_ten_thousand_steps_keep_memory_flat_and_answers_exact(name):
    live = lean3d.stream(build(name), frame=(3, 16, 16))
    draw = torch.Generator().manual_seed(0)
    state, recent = live.init(2, height=16, width=16), []
    field = int(live.receptive_field)
    for step in range(STEPS):
        frame = torch.randn(2, 3, 16, 16, generator=draw)
        answer, state = live.step(frame, state)
        recent = [*recent, frame][-field:]
        if step == WARM:
            held = resident()
    assert resident() - held < 8 * 2**20
    # the oldest frames of the window stand in for all that came before them
    whole = live.run(torch.stack(recent, dim=2))
    torch.testing.assert_close(answer, whole[:, -1], atol=1e-5, rtol=1e-5)
    assert state["t"].tolist() == [STEPS, STEPS]


@pytest.mark.slow
def test_ten_thousand_frames_of_waiting_end_in_the_answer_to_all_of_them():
    live = lean3d.stream(build_waiting("pooled"), wait=True, frame=(3, 16, 16))
    video = torch.randn(1, 3, STEPS, 16, 16, generator=torch.Generator().manual_seed(0))
    state = live.init(height=16, width=16)
    for step, frames in enumerate(video.split(live.chunk, dim=2)):
        _, state = live.step(frames, state)
        if step == WARM:
            held = resident()
    assert resident() - held < 8 * 2**20
    state = live.end(state)
    for _ in range(0, live.delay, live.chunk):
        answer, state = live.step(torch.zeros_like(frames), state)
    torch.testing.assert_close(answer, live.run(video)[:, 0], atol=1e-5, rtol=1e-5)


class Small(nn.Module):
    """A causal layer, and the mean of all there was."""

    def __init__(self):
        super().__init__()
        self.conv, self.mean = CausalConv3d(1, 2, (3, 1, 1), past=2), RunningMean()

    def forward(self, x):
        x = self.conv(x)
        return torch.cat([x, self.mean(x)], 1)


class SmallWaiting(nn.Module):
    """A quarter of the frames, what a GRU makes of them, and their mean."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 2, (5, 1, 1), (4, 1, 1), (2, 0, 0))
        self.gru = nn.GRU(2, 2, batch_first=True)

    def forward(self, x):
        features = self.conv(x).mean((3, 4)).transpose(1, 2)
        return torch.cat([self.gru(features)[0][:, -1], features.mean(1)], 1)


MILLION = 10**6
SMALL = {"causal": (Small, {}), "waiting": (SmallWaiting, dict(wait=True))}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SMALL)
def test_a_million_frames_keep_memory_flat_and_end_in_the_offline_output(kind):
    torch.manual_seed(0)
    net, options = SMALL[kind]
    live = lean3d.stream(net().eval(), frame=(1, 1, 1), **options)
    video = torch.randn(1, 1, MILLION, 1, 1)
    state = live.init(height=1, width=1)
    for step, frames in enumerate(video.split(live.chunk, dim=2)):
        answer, state = live.step(frames, state)
        if step == 10 * WARM:
            held, kept = resident(), len(live._made._known)
    assert resident() - held < 8 * 2**20
    assert len(live._made._known) <= kept
    state = live.end(state) if live.waits else state
    for _ in range(0, live.delay, live.chunk):
        answer, state = live.step(torch.zeros_like(frames), state)
    expected = live.run(video)[:, -1]
    torch.testing.assert_close(answer.flatten(), expected.flatten(), atol=2e-5, rtol=1e-4)
