"""The ways in which published networks write a mean over the clip: all stream to one answer."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lean3d
from lean3d.errors import ConversionError

HEADS = {
    "x.mean((2, 3, 4))": lambda x: x.mean((2, 3, 4)),
    "torch.mean(x, dim=[2, 3, 4])": lambda x: torch.mean(x, dim=[2, 3, 4]),
    "F.adaptive_avg_pool3d(x, 1)": lambda x: F.adaptive_avg_pool3d(x, 1).flatten(1),
    "x.mean(-1).mean(-1).mean(-1)": lambda x: x.mean(-1).mean(-1).mean(-1),
    "x.mean(2).mean(2).mean(2)": lambda x: x.mean(2).mean(2).mean(2),
    "x.mean([3, 4]).mean(2)": lambda x: x.mean([3, 4]).mean(2),
    "keepdim": lambda x: x.mean((3, 4), keepdim=True).mean(2, keepdim=True).flatten(1),
    "x.flatten(2).mean(2)": lambda x: x.flatten(2).mean(2),
    "x.flatten(3).mean(3).mean(2)": lambda x: x.flatten(3).mean(3).mean(2),
    "x.view(B, C, -1).mean(2)": lambda x: x.view(x.size(0), x.size(1), -1).mean(2),
    "view as frames": lambda x: x.reshape(*x.shape[:3], -1).mean(-1).mean(-1),
    "F.avg_pool3d(x, x.shape[2:])": lambda x: F.avg_pool3d(x, x.shape[2:]).flatten(1),
    "x.data.size()": lambda x: F.avg_pool3d(x, x.data.size()[-3:]).view(x.size(0), -1),
    "F.adaptive_avg_pool1d": lambda x: F.adaptive_avg_pool1d(x.flatten(2), 1).flatten(1),
    "plane, squeezed": lambda x: (
        F.adaptive_avg_pool3d(x, (None, 1, 1)).squeeze(4).squeeze(3).mean(2)
    ),
}


class Net(nn.Module):
    def __init__(self, head):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv3d(3, 6, 3, padding=1),
            nn.BatchNorm3d(6),
            nn.ReLU(),
            nn.Conv3d(6, 6, 3, padding=1),
        )
        self.head, self.fc = head, nn.Linear(6, 5)

    def forward(self, x):
        return self.fc(self.head(self.body(x)))


def streamed(net, how, clip):
    live = lean3d.stream(lean3d.convert(net.eval(), how).eval())
    state, answers = live.init(len(clip)), []
    for frame in clip.unbind(2):
        answer, state = live.step(frame, state)
        answers.append(answer)
    return torch.stack(answers, 1)


def same_weights(head):
    torch.manual_seed(0)
    return Net(head)


CLIP = torch.randn(2, 3, 6, 9, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def expected():
    return {
        how: streamed(same_weights(HEADS["x.mean((2, 3, 4))"]), how, CLIP)
        for how in (lean3d.Dissect(), lean3d.Dissect(head="window", window=3))
    }


@pytest.mark.parametrize("how", [lean3d.Dissect(), lean3d.Dissect(head="window", window=3)])
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_every_spelling_of_the_mean_streams_to_the_same_answers(expected, head, how):
    if head is HEADS["x.mean((2, 3, 4))"]:
        pytest.skip("it is what the others are held to")
    torch.testing.assert_close(streamed(same_weights(head), how, CLIP), expected[how])


def test_a_pool_of_the_plane_keeps_time_for_the_mean_after_it(expected):
    plane = nn.AdaptiveAvgPool3d((None, 1, 1))
    net = same_weights(lambda x: plane(x).mean((2, 3, 4)))
    how = lean3d.Dissect()
    torch.testing.assert_close(streamed(net, how, CLIP), expected[how])


class Fixed(nn.Module):
    """A window of the size of the clip it was made for, as in C3D and early 3D-ResNets."""

    def __init__(self, functional):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.fc = nn.Conv3d(3, 6, 3, padding=1), nn.Linear(6, 5)
        self.pool = None if functional else nn.AvgPool3d((8, 7, 7), stride=1)

    def forward(self, x):
        x = self.body(x)
        x = F.avg_pool3d(x, (8, 7, 7)) if self.pool is None else self.pool(x)
        return self.fc(x.view(x.size(0), -1))


@pytest.mark.parametrize("functional", [False, True])
def test_a_window_of_a_fixed_size_over_the_clip_is_a_mean_of_the_frames_so_far(functional):
    clip = torch.randn(1, 3, 8, 7, 7, generator=torch.Generator().manual_seed(1))
    net = Fixed(functional).eval()
    causal = lean3d.convert(net, lean3d.Dissect(), example=clip).eval()
    live = lean3d.stream(causal, frame=(3, 7, 7))
    state = live.init(1)
    found = []
    for frame in clip.unbind(2):
        answer, state = live.step(frame, state)
        found.append(answer)
    maps = causal.body(clip)
    means = [maps[:, :, : t + 1].mean((2, 3, 4)) for t in range(8)]
    torch.testing.assert_close(torch.stack(found), torch.stack([net.fc(mean) for mean in means]))


class Unit(nn.Module):
    """I3D's unit: it pads in its forward, by the size of its input."""

    def __init__(self, inner, outer, stride=1):
        super().__init__()
        self.kernel, self.stride = (3, 3, 3), (stride, stride, stride)
        self.conv3d = nn.Conv3d(inner, outer, 3, stride=stride, bias=False)
        self.bn = nn.BatchNorm3d(outer)

    def pad(self, axis, size):
        over = size % self.stride[axis]
        return max(self.kernel[axis] - (over or self.stride[axis]), 0)

    def forward(self, x):
        time, high, wide = (self.pad(axis, size) for axis, size in enumerate(x.shape[2:]))
        pads = [(n // 2, n - n // 2) for n in (wide, high, time)]
        return F.relu(self.bn(self.conv3d(F.pad(x, [n for pair in pads for n in pair]))))


class I3DLike(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = Unit(3, 4, stride=2), Unit(4, 4)
        self.pool = nn.AvgPool3d((2, 4, 4), stride=1)
        self.logits = nn.Conv3d(4, 5, 1)

    def forward(self, x):
        x = self.logits(self.pool(self.two(self.one(x))))
        return x.squeeze(3).squeeze(3).mean(2)


def test_padding_in_a_forward_stays_within_frames():
    clip = torch.randn(1, 3, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    causal = lean3d.convert(I3DLike().eval(), lean3d.Dissect(), example=clip).eval()
    assert "its padding within a frame" in str(causal.conversion)
    live = lean3d.stream(causal, frame=(3, 8, 8))
    state = live.init(1)
    for t, frame in enumerate(clip.unbind(2)):
        answer, state = live.step(frame, state)
        torch.testing.assert_close(answer, causal(clip[:, :, : t + 1]))


def test_a_network_that_keeps_its_frames_in_order_is_still_refused():
    net = Net(lambda x: x.mean((3, 4)).cumsum(2)[:, :, -1])
    with pytest.raises(ConversionError):
        lean3d.convert(net.eval(), lean3d.Dissect())
