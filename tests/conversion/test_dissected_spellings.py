"""Heads and gates as people write them: dissected they are what they are for the frames so far."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lean3d
from lean3d import ConversionError, Dissect, convert

SIDE = 8


class Net(nn.Module):
    """Two kernels, and what is written in between and at the end of its forward."""

    def __init__(self, head, gate=None):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = (nn.Conv3d(c, 6, 3, padding=1) for c in (2, 6))
        self.fc, self.wide, self.four = nn.Linear(6, 3), nn.Linear(12, 3), nn.Linear(24, 3)
        self.down, self.up = nn.Linear(6, 2), nn.Linear(2, 6)
        self.plane, self.one = nn.AdaptiveAvgPool3d((None, 1, 1)), nn.AdaptiveAvgPool3d(1)
        self.peak, self.lstm = nn.AdaptiveMaxPool3d(1), nn.LSTM(6, 6, batch_first=True)
        self.head, self.gate = head, gate

    def scale(self, w):
        return self.up(self.down(w).relu()).sigmoid()

    def forward(self, x):
        x = self.first(x).relu()
        if self.gate is not None:
            x = self.gate(self, x)
        return self.head(self, self.second(x))


def streamed(head, gate=None):
    """The dissected network, its outputs for every frame of a clip, and its last maps."""
    causal = convert(Net(head, gate).eval(), Dissect(), example=torch.randn(2, 2, 8, 8, 8))
    # the check of `stream` compares its steps with `run`
    live = lean3d.stream(causal, frame=(2, SIDE, SIDE))
    clip = torch.randn(2, 2, 6, SIDE, SIDE)
    with torch.no_grad():
        maps = causal.first(clip).relu()
        return causal, live.run(clip), maps


def so_far(x, dim=2):
    counts = torch.arange(1, x.shape[dim] + 1).view(-1, *[1] * (x.ndim - dim - 1))
    return x.cumsum(dim) / counts


MEANS = {
    "x.mean([2, 3, 4])": lambda n, x: n.fc(x.mean([2, 3, 4])),
    "torch.mean(x, dim=)": lambda n, x: n.fc(torch.mean(x, dim=(-3, -2, -1))),
    "time before the plane": lambda n, x: n.fc(x.mean(2).mean((2, 3))),
    "a pool of time": lambda n, x: n.fc(F.adaptive_avg_pool3d(x, (1, None, None)).mean((2, 3, 4))),
    "None, fc, mean": lambda n, x: n.fc(n.plane(x).flatten(2).transpose(1, 2)).mean(1),
    "None, squeezed": lambda n, x: n.fc(n.plane(x).squeeze(-1).squeeze(-1).mT).mean(dim=1),
    "None, indexed": lambda n, x: n.fc(n.plane(x)[..., 0, 0].mean(-1)),
    "rows": lambda n, x: n.fc(x.mean((3, 4)).mT.reshape(-1, 6)).view(x.size(0), -1, 3).mean(1),
    "images": lambda n, x: (
        n.fc(F.adaptive_avg_pool2d(x.transpose(1, 2).flatten(0, 1), 1).flatten(1))
        .view(x.size(0), -1, 3)
        .mean(1)
    ),
    "channels last": lambda n, x: n.fc(x.permute(0, 2, 3, 4, 1).flatten(1, 3).mean(1)),
    "channels last, fc": lambda n, x: n.fc(x.movedim(1, -1)).mean((1, 2, 3)),
    "a loop": lambda n, x: torch.stack([n.fc(f.mean((2, 3))) for f in x.unbind(2)], 1).mean(1),
    "a sum": lambda n, x: n.fc(x.sum((2, 3, 4)) / x[0, 0].numel()),
    "a window": lambda n, x: n.fc(F.avg_pool3d(x, (4, *x.shape[3:]), stride=1).mean((2, 3, 4))),
}
MAXIMA = {
    "amax": lambda n, x: n.fc(x.amax((2, 3, 4))),
    "a function": lambda n, x: n.fc(F.adaptive_max_pool3d(x, 1).flatten(1)),
    "a module": lambda n, x: n.fc(n.peak(x).flatten(1)),
    "max()[0]": lambda n, x: n.fc(x.flatten(2).max(-1)[0]),
}
GATES = {
    "x.flatten(2).mean(2)": lambda n, x: (
        x * n.scale(x.flatten(2).mean(2)).view(x.size(0), -1, 1, 1, 1)
    ),
    "two means": lambda n, x: x * n.scale(x.mean((3, 4)).mean(2))[..., None, None, None],
    "einsum": lambda n, x: torch.einsum("bcthw,bc->bcthw", x, n.scale(x.mean((2, 3, 4)))),
    "a module, squeezed": lambda n, x: (
        x * n.scale(n.one(x).squeeze(-1).squeeze(-1).squeeze(-1))[:, :, None, None, None]
    ),
    "a window": lambda n, x: (
        x * n.scale(F.avg_pool3d(x, x.shape[2:]).flatten(1)).view(x.size(0), 6, 1, 1, 1)
    ),
}


@pytest.mark.parametrize("name", MEANS)
def test_a_mean_is_that_of_the_frames_so_far_however_it_is_written(name):
    causal, outputs, maps = streamed(MEANS[name])
    with torch.no_grad():
        mean_BTC = so_far(causal.second(maps).mean((3, 4))).mT
        torch.testing.assert_close(outputs, causal.fc(mean_BTC), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", MAXIMA)
def test_a_maximum_is_that_of_the_frames_so_far(name):
    causal, outputs, maps = streamed(MAXIMA[name])
    with torch.no_grad():
        most_BTC = causal.second(maps).amax((3, 4)).cummax(2).values.mT
        torch.testing.assert_close(outputs, causal.fc(most_BTC), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", GATES)
def test_a_gate_and_a_head_in_one_forward_are_a_mean_for_each_frame_and_one_for_the_last(name):
    causal, outputs, maps = streamed(MEANS["x.mean([2, 3, 4])"], GATES[name])
    with torch.no_grad():
        scale_BCT = causal.scale(so_far(maps.mean((3, 4))).mT).mT
        maps = causal.second(maps * scale_BCT[..., None, None])
        expected = causal.fc(so_far(maps.mean((3, 4))).mT)
    torch.testing.assert_close(outputs, expected, atol=1e-5, rtol=1e-5)


def test_scores_maps_and_scores_of_frames_stream_together():
    def head(n, x):
        return {"all": n.fc(x.mean((2, 3, 4))), "maps": x, "each": (n.fc(x.mean((3, 4)).mT),)}

    causal, outputs, maps = streamed(head)
    with torch.no_grad():
        maps = causal.second(maps)
        each = causal.fc(maps.mean((3, 4)).mT)
        expected = causal.fc(so_far(maps.mean((3, 4))).mT)
    torch.testing.assert_close(outputs["all"], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(outputs["maps"], maps.transpose(1, 2))
    torch.testing.assert_close(outputs["each"][0], each)


@pytest.mark.parametrize("last", [True, False])
def test_a_recurrent_layer_goes_on_from_frame_to_frame(last):
    def head(n, x):
        y = n.lstm(x.mean((3, 4)).transpose(1, 2))[0]
        return n.fc(y[:, -1] if last else y.mean(1))

    causal, outputs, maps = streamed(head)
    with torch.no_grad():
        y_BTF = causal.lstm(causal.second(maps).mean((3, 4)).mT)[0]
        expected = causal.fc(y_BTF if last else so_far(y_BTF, 1))
    torch.testing.assert_close(outputs, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("head", "options", "says"),
    [
        (lambda n, x: n.fc(x.flatten(2).median(2)[0]), {}, "mixes frames by itself"),
        (lambda n, x: n.fc((x * x.softmax(2)).sum((2, 3, 4))), {}, "mixes frames by itself"),
        (
            MAXIMA["amax"],
            {"head": "window"},
            "its maximum over time has no window; use head='mean'",
        ),
    ],
)
def test_what_has_no_value_for_the_frames_so_far_is_refused(head, options, says):
    with pytest.raises(ConversionError, match=says):
        convert(Net(head).eval(), Dissect(**options), example=torch.randn(2, 2, 8, 8, 8))


@pytest.mark.parametrize(
    "head",
    [
        lambda n, x: n.fc(x.sum((2, 3, 4)) / (x.shape[2] * x.shape[3] * x.shape[4])),
        lambda n, x: n.fc(x.flatten(2).max(-1)[0]),
        lambda n, x: n.fc(F.adaptive_avg_pool1d(x.flatten(2), 1).squeeze(-1)),
        lambda n, x: n.fc(F.adaptive_max_pool1d(x.mean((3, 4)), 1).flatten(1)),
    ],
)
def test_waiting_gives_the_answer_to_the_whole_video(head):
    model = Net(head).eval()
    live = lean3d.stream(model, wait=True, frame=(2, SIDE, SIDE))
    clip = torch.randn(2, 2, 7, SIDE, SIDE)
    state = live.init(2)
    for frame in clip.unbind(2):
        _, state = live.step(frame, state)
    state = live.end(state)
    for _ in range(live.delay):
        scores, state = live.step(torch.zeros(2, 2, SIDE, SIDE), state)
    torch.testing.assert_close(scores, model(clip), atol=1e-5, rtol=1e-5)


def test_a_sum_that_nothing_divides_is_refused():
    with pytest.raises(lean3d.LeanError, match="depends on how many frames"):
        lean3d.stream(Net(lambda n, x: n.fc(x.sum((2, 3, 4)))).eval(), wait=True)
