"""The video networks of torchvision, dissected and streamed, against their own pass over clips."""

import pytest
import torch
from stream_law import assert_every_step_is_the_clip
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


@torch.no_grad()
def trained(model, clip):
    """Batch norms that know what goes through them; otherwise S3D answers all frames alike."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.train().momentum = None
    model(clip)
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize("skip", ["concat", "sum", "none"])
@pytest.mark.parametrize("name", NETS)
def test_every_one_of_40_steps_gives_the_answer_of_the_clip(name, skip):
    causal = convert(build(NETS[name]), Dissect(skip))
    live = lean3d.stream(causal, frame=(3, 32, 32), check=False)
    assert_every_step_is_the_clip(live, (3, 32, 32))


@pytest.mark.slow
def test_every_one_of_40_steps_of_s3d_gives_the_answer_of_the_clip():
    size = 3, 209, 209  # the smallest its last pool takes
    model = trained(build(video.s3d), torch.randn(1, 3, 16, *size[1:]))
    live = lean3d.stream(convert(model, Dissect()), frame=size, check=False)
    assert_every_step_is_the_clip(live, size, resets=0.15)


def test_r3d_is_dissected_and_streams():
    causal = convert(build(video.r3d_18), Dissect())
    live = lean3d.stream(causal, frame=(3, 32, 32), check=False)
    assert_every_step_is_the_clip(live, (3, 32, 32), frames=3)
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
