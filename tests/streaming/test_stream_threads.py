"""One model, one Stream, any number of threads: every answer is the one a single thread gets."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import causal_nets
import pytest
import torch
import waiting_nets
from torch import nn

import lean3d
from lean3d.errors import LeanError
from lean3d.streaming.proof import calls

FRAMES = 16
counts = pytest.mark.parametrize("threads", [2, 8])


@pytest.fixture(autouse=True)
def eager_switches():
    """Threads that change places after every few instructions."""
    interval, threads = sys.getswitchinterval(), torch.get_num_threads()
    sys.setswitchinterval(1e-6)
    torch.set_num_threads(1)
    yield
    sys.setswitchinterval(interval)
    torch.set_num_threads(threads)


def at_once(work, threads):
    """`work(number)` in so many threads that start together; their results."""
    gate = threading.Barrier(threads)

    def start(number):
        gate.wait()
        return work(number)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(start, range(threads)))


def stepped(live, clip_BCTHW):
    state, found = live.init(), []
    for frames in clip_BCTHW.split(live.chunk, dim=2):
        answer, state = live.step(frames, state)
        found.append(answer.nan_to_num())
    return torch.cat(found)


def clips(threads):
    """Of several sizes, each of them in several threads."""
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(1, 3, FRAMES, 16 + 2 * (n % 4), 16, generator=draw) for n in range(threads)]


STREAMS = {
    "causal": lambda: lean3d.stream(causal_nets.build("residual"), frame=(3, 16, 16)),
    "recurrent": lambda: lean3d.stream(causal_nets.build("lstm"), frame=(3, 16, 16)),
    "waiting": lambda: lean3d.stream(waiting_nets.build("pooled"), wait=True, frame=(3, 16, 16)),
}


@counts
@pytest.mark.parametrize("kind", STREAMS)
def test_threads_may_step_one_stream_from_its_first_frame_on(kind, threads):
    given = clips(threads)
    alone = STREAMS[kind]()
    expected = [stepped(alone, clip) for clip in given]
    for _ in range(3):
        live = STREAMS[kind]()
        found = at_once(lambda n, live=live: stepped(live, given[n]), threads)
        assert all(map(torch.equal, found, expected))
        assert live.delay == alone.delay


@counts
def test_a_frame_may_be_stepped_by_several_threads_at_once(threads):
    clip, live = torch.randn(1, 3, FRAMES, 16, 16), STREAMS["waiting"]()
    steps = clip.split(live.chunk, dim=2)  # the same tensors for all

    def work(number):
        state, found = live.init(), []
        for at, frames in enumerate(steps):
            if at == 3 and number % 2:
                state = live.end(state)
            answer, state = live.step(frames, state)
            found.append(answer.nan_to_num())
        return torch.cat(found)

    expected = [work(0), work(1)]
    for _ in range(8):
        found = at_once(work, threads)
        assert all(torch.equal(y, expected[n % 2]) for n, y in enumerate(found))


@counts
def test_two_streams_may_be_made_over_one_model_while_others_step_it(threads):
    model = waiting_nets.build("pooled")
    live, clip = lean3d.stream(model, wait=True, frame=(3, 16, 16)), clips(1)[0]
    expected = stepped(live, clip)

    def work(number):
        if number % 2:
            own = lean3d.stream(model, wait=True, frame=(3, 16, 16))
            return stepped(own, clip)
        return stepped(live, clip)

    assert all(torch.equal(y, expected) for y in at_once(work, threads))
    assert not any(module._forward_hooks for module in model.modules())


def test_the_checks_of_one_thread_watch_that_thread_alone():
    model, clip = causal_nets.build("residual"), torch.randn(1, 3, 4, 16, 16)
    alone = calls(model, lambda: model(clip))

    def beside_another():
        with ThreadPoolExecutor(1) as other:
            other.submit(model, clip).result()
            model(clip)

    seen = calls(model, beside_another)
    assert [call.path for call in seen] == [call.path for call in alone]


class Fails(nn.Module):
    """Raises on frames of one size, whoever runs it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(3, 4, 3, padding=1)

    def forward(self, x):
        y = self.conv(x)
        if x.shape[-1] == 18:
            raise RuntimeError("no such size")
        return y


@counts
def test_a_forward_that_raised_in_one_thread_harms_no_other(threads):
    live = lean3d.stream(nn.Sequential(Fails(), nn.Conv3d(4, 2, 3)).eval(), wait=True)
    clip = torch.randn(1, 3, FRAMES, 16, 16)
    expected = stepped(live, clip)

    def work(number):
        if number % 2:
            with pytest.raises(LeanError, match="no such size"):
                live.step(torch.randn(1, 3, 18, 18), live.init())
            return expected
        return stepped(live, clip)

    for _ in range(4):
        assert all(torch.equal(y, expected) for y in at_once(work, threads))
    assert torch.equal(stepped(live, clip), expected)


class Shrinks(nn.Module):
    """Has one layer over time less on large frames."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (nn.Conv3d(3, 3, 3, padding=1) for _ in range(2))

    def forward(self, x):
        x = self.first(x)
        return x if x.shape[-1] > 16 else self.second(x)


def test_each_frame_size_has_a_plan_of_its_own():
    live = lean3d.stream(Shrinks().eval(), wait=True, frame=(3, 16, 16))
    small, large = torch.randn(1, 3, 16, 16, 16), torch.randn(1, 3, 16, 24, 24)
    expected = stepped(live, small)
    assert "second.past" not in live.init(height=24, width=24)
    stepped(live, large)
    assert torch.equal(stepped(live, small), expected)
