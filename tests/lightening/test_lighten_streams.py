"""lean3d.lighten for the stream of a network: its state, its step, and causal results."""

import pytest
import torch
from torch import nn

import lean3d
from lean3d.errors import LeanError
from lean3d.lightening import restructure
from lean3d.lightening.cut import fitted, read_cut
from lean3d.lightening.steps import find_live
from lean3d.ops import CausalConv3d

FRAME = dict(height=16, width=16)


def clip(frames=8, channels=3):
    return torch.randn(2, channels, frames, 16, 16, generator=torch.Generator().manual_seed(1))


def video():
    torch.manual_seed(0)
    more = dict(padding=(0, 1, 1), past=1)
    model = nn.Sequential(
        CausalConv3d(3, 16, (2, 3, 3), bias=False, **more),
        nn.BatchNorm3d(16),
        nn.ReLU(),
        CausalConv3d(16, 16, 3, padding=1, first="zeros"),
        nn.ReLU(),
        CausalConv3d(16, 4, (2, 3, 3), **more),
    )
    model(clip())
    return model.eval()


def plain():
    """A network that is not causal; it pools time, so that a step has two frames."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(3, 16, 3, padding=1, bias=False),
        nn.BatchNorm3d(16),
        nn.ReLU(),
        nn.Conv3d(16, 16, 3, stride=(2, 1, 1), padding=1),
        nn.ReLU(),
        nn.Conv3d(16, 4, 3, padding=1),
    ).eval()


@pytest.fixture(scope="module")
def light():
    return lean3d.lighten(video(), clip()[:1], state=0.5, data=clip(), cuts=["time", "channels"])


@pytest.mark.slow
def test_half_of_the_state_of_a_causal_network_that_stays_causal(light):
    before = lean3d.stream(video()).state_bytes(**FRAME).total
    live = lean3d.stream(light)  # compares steps with the clip
    assert not live.waits
    record = light.lightening
    assert record.measured == live.state_bytes(**FRAME).total <= 0.5 * before
    assert record.predicted == record.measured
    assert any("outputs" in layer.after for layer in record.layers)
    with torch.no_grad():
        other = restructure(video(), record.cuts).eval()
        wanted, found, unfitted = video()(clip()), light(clip()), other(clip())
    assert (found - wanted).norm() < 0.7 * (unfitted - wanted).norm()


def test_later_frames_change_nothing_before(light):
    x = clip(12)
    changed = x.clone()
    changed[:, :, 8:] = 0
    with torch.no_grad():
        a, b = light(x), light(changed)
    assert torch.allclose(a[:, :, :8], b[:, :, :8], atol=1e-5)
    assert not torch.allclose(a[:, :, 8:], b[:, :, 8:], atol=1e-5)


def test_its_cuts_build_the_same_network(light):
    again = restructure(video(), light.lightening.cuts).eval()
    again.load_state_dict(light.state_dict())
    with torch.no_grad():
        assert torch.equal(again(clip()), light(clip()))


@pytest.mark.parametrize("first", ["replicate", "zeros"])
@pytest.mark.parametrize("past", [1, 2, None])
def test_a_causal_convolution_of_full_rank_is_equal(first, past):
    torch.manual_seed(0)
    padding = 1 if past is None else (0, 1, 1)
    conv = CausalConv3d(3, 4, (2, 3, 3), padding=padding, past=past, first=first)
    model = nn.Sequential(conv, nn.ReLU(), nn.Conv3d(4, 2, 1)).eval()
    how = "0 SpaceTime form=rank1 mid_channels=8"
    operator = fitted(conv, read_cut(how).how).eval()
    with torch.no_grad():
        assert torch.allclose(operator(clip()), model[0](clip()), atol=1e-5)
    assert operator.temporal.first == first
    assert operator.temporal.past == conv.past


def test_the_state_of_a_network_with_a_delay():
    model = plain()
    before = lean3d.stream(model, wait=True).state_bytes(**FRAME).total
    light = lean3d.lighten(model, clip()[:1], state=0.6, data=clip(), cuts=["time"])
    live = lean3d.stream(light, wait=True)
    assert light.lightening.measured == live.state_bytes(**FRAME).total <= 0.6 * before
    assert live.delay <= lean3d.stream(model, wait=True).delay


@pytest.mark.parametrize("model", [plain(), video()], ids=["delay", "causal"])
def test_the_step_is_timed(model):
    # in ms: as long as any machine takes, whatever else runs on it
    more = dict(data=clip(), cuts=["channels"], table=None)
    record = lean3d.lighten(model, clip()[:1], step=1000.0, **more).lightening
    assert record.target == "step"
    assert record.backend.startswith("fused step")
    assert 0 < record.measured <= 1.1 * record.wanted


@pytest.mark.slow
def test_a_step_of_a_d_resnet_takes_the_time_that_was_named():
    torch.manual_seed(0)
    model = lean3d.create_model("d_resnet_18", num_classes=5).eval()
    frames = torch.randn(1, 3, 16, 112, 112)
    record = lean3d.lighten(model, frames, step=0.6, data=frames, table=None).lightening
    assert record.predicted == pytest.approx(record.measured, rel=0.1)
    assert record.ratio <= 0.63


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"step": 0.5, "state": None, "backends": ["eager"]}, "leave out backends="),
        ({"precision": "bfloat16"}, "steps in float32; leave out backends= and precision="),
        ({"state": 0}, "state is a share up to 1 of the network's own, or bytes"),
        ({"state": 1e-3, "cuts": ["channels"]}, "the least that can be asked for is state="),
        ({"model": nn.Sequential(nn.Conv3d(3, 4, 3), nn.GroupNorm(2, 4))}, "is of a stream, and"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_targets_get_one_sentence(change, why):
    given = dict(model=plain(), example=clip()[:1], state=0.5, data=clip()) | change
    with pytest.raises(LeanError, match=why) as refused:
        lean3d.lighten(**given)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("form", ["ACS", "MeanACS", "Planar", "Planar axis=1", "Atoms"])
def test_a_form_without_a_causal_one_is_refused(form):
    with pytest.raises(LeanError, match="Conv3d has no causal form"):
        restructure(video(), [read_cut(f"3 {form}")])


@pytest.mark.parametrize("form", ["SpaceTime", "ParallelSeparable streams=2", "ChannelSeparated"])
def test_every_other_form_is_causal(form):
    model = restructure(video(), [read_cut(f"3 {form}")]).eval()
    lean3d.stream(model)  # compares steps with the clip, and refuses what looks ahead
    with torch.no_grad():
        assert model(clip()).shape == video()(clip()).shape


def test_a_stream_of_two_clips_is_refused():
    with pytest.raises(LeanError, match="takes one clip"):
        find_live(plain(), (clip(), clip()), "state=0.5")
