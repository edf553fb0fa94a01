"""A network that waits gives the answers of its pass over the whole video, late."""

import pytest
import torch
from torch import nn
from waiting_nets import NETS, build

import lean3d
from lean3d.errors import LeanError

FRAMES = 40
ALL = slice(None)
every_net = pytest.mark.parametrize("name", NETS)


def start(name, **options):
    return lean3d.stream(build(name), wait=True, frame=(3, 16, 16), **options)


def answers(live, videos):
    """Step through videos of their own start and length at once; all that came out of each.

    Args:
        videos: (first step, frames (C, T, H, W)) of each stream.
    """
    state = live.init(len(videos), height=16, width=16)
    steps = max(at + -(-v.shape[1] // live.chunk) for at, v in videos) + live.delay // live.chunk
    found = [[] for _ in videos]
    for step in range(steps + 1):
        state = live.reset(state, torch.tensor([at == step for at, _ in videos]))
        chunk = torch.randn(len(videos), 3, live.chunk, 16, 16)  # noise where no video is
        for b, (at, video) in enumerate(videos):
            here = (step - at) * live.chunk
            part = video[:, max(here, 0) : max(here + live.chunk, 0)]
            chunk[b, :, : part.shape[1]] = part
            if here == video.shape[1]:
                state = live.end(state, [b])
        answer, state = live.step(chunk, state)
        for b, (at, _) in enumerate(videos):
            if step >= at:
                found[b].append(live.found.frames_second(answer, step=True)[b])
    return [torch.cat(y) for y in found]


@every_net
def test_answers_are_those_to_whole_videos_of_any_start_and_length(name):
    live = start(name)
    lengths, starts = (FRAMES, 24, 16), (0, 1, 3)
    videos = [
        (at, torch.randn(3, frames, 16, 16)) for at, frames in zip(starts, lengths, strict=True)
    ]
    for (_, video), found in zip(videos, answers(live, videos), strict=True):
        (expected,) = live.run(video[None])
        known = ~found.flatten(1).isnan().any(1)
        there = found[known]
        assert known.any()
        if live.found.run_axes == (None,):
            there = there[-1:]
        torch.testing.assert_close(there, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "chunk", "delay"), [("plain", 1, 3), ("strided", 4, 0), ("residual", 2, 4)]
)
def test_the_delay_is_as_long_as_the_network_looks_ahead(name, chunk, delay):
    live = start(name)
    assert (live.chunk, live.delay, live.waits) == (chunk, delay, True)
    video = torch.randn(1, 3, 24, 16, 16)
    state, first = live.init(height=16, width=16), None
    for number, frames in enumerate(video.split(chunk, dim=2)):
        answer, state = live.step(frames, state)
        if first is None and not answer.isnan().any():
            first = number * chunk
    assert first == delay


def test_a_mean_over_time_is_that_of_the_frames_so_far_and_in_the_end_of_all():
    live, video = start("pooled"), torch.randn(1, 3, 16, 16, 16)
    maps = live.model.trunk(video).mean((3, 4))
    state, found = live.init(), []
    for frames in video.split(live.chunk, dim=2):
        answer, state = live.step(frames, state)
        found.append(answer)
    late = live.delay // live.chunk
    for step in range(late, len(found)):
        soon = live.model.fc(maps[:, :, : step - late + 1].mean(2))
        torch.testing.assert_close(found[step], soon, atol=1e-5, rtol=1e-5)


def test_a_mean_in_double_precision_is_kept_in_it():
    live = lean3d.stream(build("pooled").double(), wait=True, frame=(3, 16, 16))
    assert live.init(height=16, width=16)["mean"].dtype == torch.double


def test_a_mean_over_a_window_forgets_what_is_older():
    live, video = start("pooled", window=6), torch.randn(1, 3, 24, 16, 16)
    maps = live.model.trunk(video).mean((3, 4))
    state = live.init()
    for frames in video.split(live.chunk, dim=2):
        answer, state = live.step(frames, state)
    last = maps.shape[2] - live.delay // live.chunk
    expected = live.model.fc(maps[:, :, last - 3 : last].mean(2))
    torch.testing.assert_close(answer, expected, atol=1e-5, rtol=1e-5)


@every_net
def test_long_steps_leave_the_state_of_short_ones(name):
    # in double precision, as one of the networks rounds what kernels compute in another order
    video = torch.randn(2, 3, 16, 16, 16, dtype=torch.double)
    live = lean3d.stream(build(name).double(), wait=True, frame=(3, 16, 16))
    one, many = live.init(2), live.init(2)
    for frames in video.split(live.chunk, dim=2):
        _, one = live.step(frames, one)
    for frames in video.split(2 * live.chunk, dim=2):
        _, many = live.step(frames, many)
    for key in one:
        torch.testing.assert_close(one[key], many[key])


@every_net
def test_the_step_without_branches_is_the_step(name):
    live, video = start(name), torch.randn(2, 3, 16, 16, 16)
    state = other = live.init(2, height=16, width=16)
    for frames in video.split(live.chunk, dim=2):
        answer, state = live.step(frames, state)
        with torch.no_grad():
            again, other = live(frames, other)
        torch.testing.assert_close(again, answer, equal_nan=True)
    assert list(state) == list(other)


def test_keys_of_the_state_are_paths_of_modules():
    state = start("residual").init(height=16, width=16)
    assert list(state) == ["t", "end", "stem.past", "inner.past", "past", "past#2", "last.past"]


def test_a_model_that_only_waits_keeps_what_a_kernel_lacks():
    size = start("plain").state_bytes(height=16, width=16)
    assert size.input_state == 4 * 2 * 3 * 16 * 16
    assert size.conv_state == 4 * 2 * 4 * 16 * 16


class Squeezed(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv3d(3, 4, 3, padding=1)

    def forward(self, x):
        x = self.stem(x)
        return x * x.mean((2, 3, 4), keepdim=True).sigmoid()


class Counted(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv3d(3, 4, 3, padding=1)

    def forward(self, x):
        return self.stem(x) / x.shape[2]


class Cut(nn.Module):
    def __init__(self, cut):
        super().__init__()
        self.cut = cut

    def forward(self, x):
        return self.cut(x.relu())


def written(x, key):
    x[key] = 0
    return x


A_FEW = "takes a fixed number of frames, not all but the first or last few"
REFUSED = {
    "from the first": (Cut(lambda x: x - x[:, :, :1]), A_FEW),
    "the first": (Cut(lambda x: x[:, :, :4]), A_FEW),
    "the first again": (Cut(lambda x: torch.cat([x[:, :, :1], x], dim=2)), A_FEW),
    "the last again": (Cut(lambda x: torch.cat([x, x[:, :, -2:]], dim=2)), A_FEW),
    "one written": (Cut(lambda x: written(x, (ALL, ALL, 0))), "into a fixed number of frames"),
    "a few written": (
        Cut(lambda x: written(x, (ALL, ALL, slice(0, 2)))),
        "into a fixed number of frames",
    ),
    "streams written": (Cut(lambda x: written(x, 0)), "writes into some of the streams"),
    "a mask written": (Cut(lambda x: written(x, x > 0)), "more than slices and whole numbers"),
    "norm": (
        nn.Sequential(nn.Conv3d(3, 4, 3), nn.GroupNorm(2, 4)),
        "group_norm in 1 may mix frames",
    ),
    "squeeze": (
        Squeezed(),
        r"mul in the model joins a mean over all time with single frames.*no delay.*Dissect\(\)",
    ),
    "softmax": (nn.Sequential(nn.Conv3d(3, 4, 3), nn.Softmax(2)), "softmax in 1 may mix frames"),
    "resize": (
        nn.Upsample(scale_factor=1.5, mode="trilinear"),
        "interpolate in the model resizes time by a factor that is not a whole number",
    ),
    "mean": (
        nn.AvgPool3d(3, 2, ceil_mode=True),
        "avg_pool3d in the model has ceil_mode=True with windows over time",
    ),
    "pad": (
        nn.Conv3d(3, 4, 3, padding=1, padding_mode="circular"),
        r"pad in the model pads time by \(1, 1\) frames with mode='circular'",
    ),
    "flatten": (nn.Flatten(), r"merges streams or frames.*one length.*x.mean\(2\)"),
    "all in one row": (Cut(lambda x: x.reshape(x.shape[0], -1)), "is for videos of one length"),
    "streams in one row": (Cut(lambda x: x.mean(2).flatten(0, 1)), "merges the axis of streams"),
    "one axis left": (
        Cut(lambda x: x.transpose(1, 2).flatten(0, 1)),
        "in which streams and frames share an axis",
    ),
    "a sum over time": (
        Cut(lambda x: torch.einsum("bcthw,bcshw->bcthw", x, x)),
        "einsum in the model multiplies frames with other frames",
    ),
    "frames times frames": (
        Cut(lambda x: x.mean((3, 4)).mT @ x.mean((3, 4))),
        "matmul in the model multiplies frames with other frames",
    ),
    "a trace": (Cut(lambda x: torch.einsum("bcthw->bchw", x)), "sums over streams or frames"),
    "counted": (Counted(), "depends on how many frames"),
    "long videos otherwise": (
        Cut(lambda x: x if x.shape[2] < 200 else 2 * x),
        "compares the number of frames of a map with 200",
    ),
    "a mean over a few": (
        Cut(lambda x: x.sum(2) / min(x.shape[2], 100)),
        "compares the number of frames of a map with 100",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_known_to_stream_is_refused_by_name(kind):
    model, said = REFUSED[kind]
    with pytest.raises(LeanError, match=said):
        lean3d.stream(model.eval(), wait=True, frame=(3, 16, 16))


def test_a_causal_network_owes_no_answers():
    live = lean3d.stream(lean3d.ops.CausalConv3d(3, 4, 3, padding=1).eval())
    with pytest.raises(LeanError, match="no outputs to come"):
        live.end(live.init())


@pytest.mark.parametrize("options", [dict(window=4), dict(wait=True, window=0)])
def test_a_window_belongs_to_waiting(options):
    with pytest.raises(LeanError, match="window=, a number of frames, with wait=True"):
        lean3d.stream(build("pooled"), **options)


def test_a_video_may_end_between_the_first_and_the_last_frame_of_a_step():
    live = start("separate")
    clip_BCTHW = torch.randn(1, 3, 15, 16, 16)
    state, padded = live.init(), torch.cat([clip_BCTHW, torch.randn(1, 3, 17, 16, 16)], 2)
    found = []
    for first in range(0, 32, live.chunk):
        if first + live.chunk > 15 and first < 15:
            state = live.end(state, after=15 - first)
        answer, state = live.step(padded[:, :, first : first + live.chunk], state)
        found.append(live.found.frames_second(answer, step=True)[0])
    there = torch.cat(found)
    there = there[~there.flatten(1).isnan().any(1)]
    torch.testing.assert_close(there, live.run(clip_BCTHW)[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pool", [nn.MaxPool3d, nn.AvgPool3d])
@pytest.mark.parametrize("frames", [8, 9])
def test_windows_that_round_up_end_with_the_video(pool, frames):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv3d(3, 4, 3, padding=1), pool(2, ceil_mode=True), nn.Conv3d(4, 4, 3))
    net = net.append(nn.AdaptiveAvgPool3d(1)).append(nn.Flatten()).eval()
    live = lean3d.stream(net, wait=True, frame=(3, 15, 16))
    video, state = torch.randn(1, 3, frames, 15, 16), live.init()
    padded = torch.cat([video, torch.randn(1, 3, live.delay + 4, 15, 16)], 2)
    for first in range(0, frames + live.delay + live.chunk, live.chunk):
        if first < frames <= first + live.chunk:
            state = live.end(state, after=frames - first)
        answer, state = live.step(padded[:, :, first : first + live.chunk], state)
    torch.testing.assert_close(answer, net(video), atol=1e-5, rtol=1e-5)


def test_frames_to_come_are_not_less_than_none():
    live = start("separate")
    with pytest.raises(LeanError, match="0 or more, got after=-1"):
        live.end(live.init(), after=-1)


def test_a_forward_that_needs_some_frames_gets_a_step_of_as_many():
    class Needy(nn.Conv3d):
        def forward(self, x):
            if int(x.shape[2]) < 3:
                raise ValueError("3 frames at least")
            return super().forward(x)

    live = lean3d.stream(Needy(3, 4, 3, padding=1).eval(), wait=True, frame=(3, 8, 8))
    assert live.chunk == 3


def test_what_stands_beside_the_tensors_of_an_output_stays():
    class Beside(nn.Conv3d):
        def forward(self, x):
            return {"scores": super().forward(x), "loss": None, "scale": 2}

    live = lean3d.stream(Beside(3, 4, 3, padding=1).eval(), wait=True, frame=(3, 8, 8))
    output, _ = live.step(torch.randn(1, 3, 8, 8), live.init())
    assert (output["scores"].shape, output["loss"], output["scale"]) == ((1, 4, 8, 8), None, 2)
