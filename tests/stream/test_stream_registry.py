"""Every network of the registry over clips streams, or says why not."""

import pytest
import torch
from torch import nn

import lean3d
from lean3d.errors import LeanError
from lean3d.models import find_model, list_models

CAUSAL = [name for name in list_models("d_*") if find_model(name).input_shape[2] > 1]
WAITING = [
    name
    for name in list_models()
    if len(find_model(name).input_shape) == 5 and name not in CAUSAL and not name.startswith("d_")
]
# squeeze-and-excitation over the whole clip, resizing, channels unfolded, frames padded apart
REFUSED = {
    "x3d_m": "mul in blocks.1.res_blocks.0.branch2.norm_b.1 joins a mean over all time",
    "unet3d": "interpolate in the model may mix frames",
    "densenet3d": "interpolate in the model may mix frames",
    "psc_densenet": "unflatten in stem may mix frames",
    "psc_resnet34": "unflatten in layer1.0.conv1.0 may mix frames",
    "psc_unet": "unflatten in encoder.0.0 may mix frames",
    "shufflenet3d_v1": "pad in layer1.0.shortcut.0 may mix frames",
}
FEW = [
    "x3d_m",
    "unet3d",
    "d_resnet_18",
    "resnet3d_18",
    "ip_csn_26",
    "hara_resnet_18",
    "r2plus1d_18",
    "p3d_63",
]


def some(names):
    return [pytest.param(n, marks=[] if n in FEW else pytest.mark.slow) for n in names]


def build(name):
    torch.manual_seed(0)
    entry = find_model(name)
    narrow = name in FEW and "widths" in entry.takes
    widths = {"widths": [16] * len(entry.takes["widths"])} if narrow else {}
    model = entry.build(num_classes=7, **widths).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):  # as if it were trained
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
    return model


@pytest.mark.parametrize("name", some(CAUSAL))
def test_a_causal_network_streams_with_starts_and_resets_at_random(name):
    live = lean3d.stream(build(name), check=False)
    draw = torch.Generator().manual_seed(1)
    video_BCTHW = torch.randn(3, 3, 40, 32, 32, generator=draw)
    begins = torch.rand(3, 40, generator=draw) < 0.06
    begins[:, 0] = True
    state, start, whole = live.init(3, height=32, width=32), {}, {}
    for t in range(40):
        start |= dict.fromkeys(begins[:, t].nonzero().flatten().tolist(), t)
        state = live.reset(state, begins[:, t])
        answer, state = live.step(video_BCTHW[:, :, t], state)
        for b, at in start.items():
            if (b, at) not in whole:
                whole[b, at] = live.run(video_BCTHW[b : b + 1, :, at:])[0]
            allowed = 1e-5 * max(1.0, float(whole[b, at].abs().max()))
            expected = whole[b, at][t - at]
            torch.testing.assert_close(answer[b], expected, atol=allowed, rtol=0)


@pytest.mark.parametrize("name", some(n for n in WAITING if n not in REFUSED))
def test_a_conventional_network_streams_by_waiting(name):
    live = lean3d.stream(build(name), wait=True)  # which compares a video, its end included
    assert live.delay % live.chunk == 0


@pytest.mark.parametrize("name", some(REFUSED))
def test_a_network_that_needs_the_whole_clip_inside_is_refused(name):
    with pytest.raises(LeanError, match=REFUSED[name]):
        lean3d.stream(build(name), wait=True)
