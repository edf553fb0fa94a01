"""The video networks of torchvision, as they are, by waiting."""

import pytest
import torch
from torch import nn
from zoo import torchvision

import lean3d


def build(name):
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):  # as if it were trained
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "side", "delay", "chunk"),
    [("r3d_18", 32, 48, 8), ("mc3_18", 32, 5, 1), ("r2plus1d_18", 32, 48, 8), ("s3d", 224, 56, 8)],
)
def test_scores_are_those_of_whole_videos_of_other_starts_and_lengths(name, side, delay, chunk):
    model = build(name)
    live = lean3d.stream(model, wait=True, frame=(3, side, side), check=False)
    assert (live.delay, live.chunk) == (delay, chunk)
    lengths, starts = (40, 24, 16), (0, 1, 3)
    videos = [torch.randn(1, 3, frames, side, side) for frames in lengths]
    state, last = live.init(3, height=side, width=side), {}
    for step in range((max(lengths) + delay) // chunk + max(starts)):
        begins = torch.tensor([at == step for at in starts])
        state = live.reset(state, begins)
        frames = torch.randn(3, 3, chunk, side, side)
        for b, (at, video) in enumerate(zip(starts, videos, strict=True)):
            here = (step - at) * chunk
            if 0 <= here < video.shape[2]:
                frames[b] = video[0, :, here : here + chunk]
            if here == video.shape[2]:
                state = live.end(state, [b])
        scores, state = live.step(frames, state)
        last |= {b: scores[b] for b, at in enumerate(starts) if step >= at}
    for b, video in enumerate(videos):
        with torch.no_grad():
            expected = model(video)[0]
        torch.testing.assert_close(last[b], expected, atol=1e-5, rtol=1e-5)
