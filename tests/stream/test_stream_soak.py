"""Streams that run for long neither grow nor drift."""

import pytest
import torch
from causal_nets import build
from waiting_nets import build as build_waiting

import lean3d

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
