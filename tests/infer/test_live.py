import pickle

import numpy as np
import pytest
import torch
from torch import nn

from lean3d.data.frames import FrameSource
from lean3d.data.pixels import fit_frame
from lean3d.data.prefetch import Prefetch
from lean3d.errors import DataError, ShapeError
from lean3d.infer.live import Session
from lean3d.infer.meter import Durations, Meter
from lean3d.ops import CausalConv3d
from lean3d.ops.heads import MeanHead
from lean3d.streaming import stream


class Net(nn.Module):
    """Sees two frames back, and remembers the mean of all."""

    def __init__(self, head=None):
        super().__init__()
        self.conv = CausalConv3d(3, 4, 3, padding=1)
        self.head = head or MeanHead(4, 5)

    def forward(self, x_BCTHW):
        return self.head(self.conv(x_BCTHW).mean((3, 4)))


class Film(FrameSource):
    """So many frames of noise, then an error or the end."""

    def __init__(self, num, seed, error=None, size=(20, 24)):
        self.name, self.fps, self.error = f"film{seed}", 25.0, error
        draw = torch.Generator().manual_seed(seed)
        shape = (num, *size, 3)
        self.pixels = torch.randint(0, 256, shape, generator=draw, dtype=torch.uint8)

    def read(self):
        yield from ((frame, None) for frame in self.pixels)
        if self.error:
            raise self.error


@pytest.fixture(scope="module")
def live():
    torch.manual_seed(0)
    return stream(Net().eval(), frame=(3, 16, 16))


def alone(live, film):
    """What the model says of a video that it sees as a whole."""
    clip = torch.stack([fit_frame(frame, (16, 16)) for frame in film.pixels], 1)
    return live.run(clip[None])[0].softmax(-1)


def watched(live, films):
    session = Session(live, [Prefetch(film) for film in films], (16, 16))
    answers = {number: [] for number in range(len(films))}
    for batch in session:
        for answer in batch:
            answers[answer.source].append(answer)
    return session, answers


def test_videos_of_different_lengths_each_get_the_answers_they_would_get_alone(live):
    films = [Film(7, 1), Film(3, 2), Film(5, 3, size=(33, 18))]
    _, answers = watched(live, films)
    for number, film in enumerate(films):
        said = torch.stack([answer.probabilities for answer in answers[number]])
        torch.testing.assert_close(said, alone(live, film), atol=1e-5, rtol=0)
        assert [answer.frame.index for answer in answers[number]] == list(range(len(film.pixels)))


def test_a_video_that_fails_leaves_the_others_unharmed(live):
    films = [Film(6, 1), Film(2, 2, DataError("film2 is torn")), Film(6, 3)]
    session, answers = watched(live, films)
    assert {number: str(error) for number, error in session.errors.items()} == {1: "film2 is torn"}
    assert len(answers[1]) == 2
    for number in (0, 2):
        said = torch.stack([answer.probabilities for answer in answers[number]])
        torch.testing.assert_close(said, alone(live, films[number]), atol=1e-5, rtol=0)


class LooksAhead(nn.Module):
    """Sees frames to come; steps take `stride` frames."""

    def __init__(self, stride=1):
        super().__init__()
        self.conv = nn.Conv3d(3, 4, 3, padding=1)
        self.down = nn.Conv3d(4, 4, (3, 1, 1), (stride, 1, 1), (1, 0, 0))
        self.fc = nn.Linear(4, 5)

    def forward(self, x_BCTHW):
        return self.fc(self.down(self.conv(x_BCTHW).relu()).mean((2, 3, 4)))


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_a_network_that_waits_answers_every_frame_and_ends_with_the_whole_video(stride):
    torch.manual_seed(0)
    net = LooksAhead(stride).eval()
    waiting = stream(net, wait=True, frame=(3, 16, 16))
    films = [Film(13, 1), Film(6, 2), Film(9, 3, DataError("film3 is torn"))]
    session, answers = watched(waiting, films)
    assert list(session.errors) == [2]
    for number, film in enumerate(films):
        assert [answer.frame.index for answer in answers[number]] == list(range(len(film.pixels)))
        assert all(answer.probabilities.isfinite().all() for answer in answers[number])
        clip = torch.stack([fit_frame(frame, (16, 16)) for frame in film.pixels], 1)
        whole = net(clip[None])[0].softmax(-1)
        last = answers[number][-1].probabilities
        torch.testing.assert_close(last, whole, atol=1e-5, rtol=0)
        assert (answers[number][0].probabilities - whole).abs().max() > 1e-4


@pytest.mark.parametrize("stride", [1, 4])
def test_a_limit_ends_every_video(stride):
    torch.manual_seed(0)
    waiting = stream(LooksAhead(stride).eval(), wait=True, frame=(3, 16, 16))
    session = Session(waiting, [Prefetch(Film(13, 1)), Prefetch(Film(3, 2))], (16, 16), limit=6)
    answers = [(answer.source, answer.frame.index) for batch in session for answer in batch]
    assert sorted(answers) == [(0, t) for t in range(6)] + [(1, t) for t in range(3)]


def test_frames_nobody_waited_for_are_counted(live):
    source = Film(9, 1)
    frames = Prefetch(source, capacity=2, drop_oldest=True)
    frames._thread.join(10)
    session = Session(live, [frames], (16, 16))
    answers = [batch[0] for batch in session]
    assert [answer.frame.index for answer in answers] == [7, 8]
    assert answers[-1].dropped == 7


def test_every_answered_frame_is_metered(live):
    session, answers = watched(live, [Film(4, 1)])
    meter = session.meters[0]
    assert meter.frames == 4
    times = sorted(answer.milliseconds for answer in answers[0])
    assert [meter.percentile(0), meter.percentile(100)] == pytest.approx([times[0], times[-1]])
    assert 0 < meter.percentile(50) <= meter.percentile(99)
    assert meter.fps > 0
    assert meter.recent_fps > 0


def test_a_meter_without_frames_says_nought():
    meter = Meter()
    assert (meter.frames, meter.fps, meter.recent_fps, meter.percentile(99)) == (0, 0, 0, 0)


def test_percentiles_are_of_all_frames():
    meter = Meter()
    for milliseconds in range(101):
        meter.add(float(milliseconds))
    assert (meter.percentile(0), meter.percentile(100)) == (0, 100)
    assert meter.percentile(50) == pytest.approx(50, rel=0.006)
    assert meter.percentile(99) == pytest.approx(99, rel=0.006)


def test_percentiles_are_exact_to_half_a_percent_over_ten_orders_of_magnitude():
    draws = 10 ** np.random.default_rng(0).uniform(-3, 7, 20_001)
    times = Durations()
    times.extend(draws)
    for share in (0.1, 1, 25, 50, 90, 99, 99.9):
        exact = np.percentile(draws, share, method="nearest")
        assert times.percentile(share) == pytest.approx(exact, rel=0.0051)
    assert len(times) == 20_001
    one = Durations()
    one.append(12.34)
    assert one.percentile(50) == 12.34


def held(thing):
    return len(pickle.dumps(thing))


def test_the_meter_holds_as_much_after_two_to_the_31_frames_as_after_a_hundred():
    meter = Meter()
    for number in range(100):
        meter.add(10 + number % 7)
    before, median = held(meter), meter.percentile(50)
    meter.milliseconds._bins *= 2**31  # as many of each again and again
    meter.frames *= 2**31
    for number in range(100):
        meter.add(10 + number % 7)
    assert held(meter) < before + 100
    assert len(meter.milliseconds) == meter.frames == 100 * 2**31 + 100
    assert meter.percentile(50) == pytest.approx(median)
    assert meter.fps > 0


def test_a_model_that_names_nothing_is_refused():
    maps = stream(CausalConv3d(3, 4, 3, padding=1).eval(), frame=(3, 16, 16))
    with pytest.raises(ShapeError, match=r"output for a frame is \(B, K\)"):
        watched(maps, [Film(2, 1)])


def test_closing_stops_reading(live):
    films = [Prefetch(Film(50, 1), capacity=2)]
    session = Session(live, films, (16, 16))
    next(iter(session))
    session.close()
    assert films[0].take() is None
