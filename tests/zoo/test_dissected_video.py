"""The video networks of torchvision, dissected and streamed, against their own pass over clips."""

import pytest
import torch
from torch import nn
from zoo import torchvision

import lean3d
from lean3d import Dissect, SpaceTime, convert

video = torchvision.models.video
NETS = {name: getattr(video, name) for name in ("r3d_18", "mc3_18", "r2plus1d_18")}


def build(make):
    torch.manual_seed(0)
    model = make(num_classes=5).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.normal_(module.running_mean, std=0.1)
    return model


def law(causal, frames, size, resets):
    """Three streams that begin at different times, and begin anew at random, against the clip."""
    live = lean3d.stream(causal, frame=(3, size, size), check=False)
    draw = torch.Generator().manual_seed(1)
    clip = torch.randn(3, 3, frames, size, size, generator=draw)
    begins = torch.rand(3, frames, generator=draw) < resets
    begins[:, 0] = True
    begins[1, 1] = begins[2, 2] = True
    start, state = [0, 0, 0], live.init(3, height=size, width=size)
    for t in range(frames):
        for b in begins[:, t].nonzero().flatten().tolist():
            start[b] = t
        state = live.reset(state, begins[:, t])
        answer, state = live.step(clip[:, :, t], state)
        with torch.no_grad():
            for b in range(3):
                whole = causal(clip[b : b + 1, :, start[b] : t + 1])
                torch.testing.assert_close(answer[b : b + 1], whole, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("skip", ["concat", "sum", "none"])
@pytest.mark.parametrize("name", NETS)
def test_every_one_of_40_steps_gives_the_answer_of_the_clip(name, skip):
    law(convert(build(NETS[name]), Dissect(skip)), frames=40, size=32, resets=0.1)


@pytest.mark.slow
def test_every_step_of_s3d_gives_the_answer_of_the_clip():
    law(convert(build(video.s3d), Dissect()), frames=6, size=224, resets=0.1)


def test_r3d_is_dissected_and_streams():
    causal = convert(build(video.r3d_18), Dissect())
    law(causal, frames=3, size=32, resets=0)
    dropped = sum(p.numel() for p in video.r3d_18(num_classes=5).parameters())
    # Sec 3.1: about half of the parameters of 18 layers go
    assert sum(p.numel() for p in causal.parameters()) / dropped == pytest.approx(0.5, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NETS, "s3d"])
def test_the_video_networks_become_lean(name):
    model = build(getattr(video, name))
    how = SpaceTime("rank1") if name in ("r3d_18", "mc3_18") else lean3d.ChannelSeparated()
    lean = convert(model, how)
    assert len(lean.conversion.rows) > 4
    assert [check.passed for check in lean.conversion.checks] == [True]
    assert sum(p.numel() for p in lean.parameters()) < sum(p.numel() for p in model.parameters())
