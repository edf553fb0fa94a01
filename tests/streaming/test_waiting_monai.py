"""MONAI's U-Nets stream as they are: transposed kernels, resizing over time, copied borders."""

import pytest
import torch
from torch import nn

import lean3d
from lean3d.errors import LeanError

nets = pytest.importorskip("monai.networks.nets")
BATCH = ("batch", {"eps": 1e-3})


def dynunet(**more):
    strides, kernels = [1, (1, 2, 2), (2, 2, 2)], [(3, 3, 3), (1, 3, 3), (3, 3, 3)]
    ups = strides[1:]
    size = dict(filters=[4, 8, 8], norm_name="batch", **more)
    return nets.DynUNet(3, 1, 2, kernels, strides, ups, **size)


NETS = {
    "UNet": lambda: nets.UNet(3, 1, 2, channels=(4, 8, 8), strides=(2, 2), norm="batch"),
    "UNet, residual": lambda: nets.UNet(
        3, 1, 2, channels=(4, 8), strides=(2,), num_res_units=2, norm="batch"
    ),
    "UNet, in planes": lambda: nets.UNet(
        3, 1, 2, channels=(4, 8), strides=((1, 2, 2),), kernel_size=(1, 3, 3), norm="batch"
    ),
    "BasicUNet": lambda: nets.BasicUNet(3, 1, 2, features=(4, 4, 4, 8, 8, 4), norm="batch"),
    "DynUNet": dynunet,
    "DynUNet, residual": lambda: dynunet(res_block=True),
    "SegResNet": lambda: nets.SegResNet(
        3, 4, 1, 2, norm=BATCH, blocks_down=(1, 1, 1), blocks_up=(1, 1)
    ),
    "SegResNet, transposed": lambda: nets.SegResNet(
        3, 4, 1, 2, norm=BATCH, blocks_down=(1, 1), blocks_up=(1,), upsample_mode="deconv"
    ),
    "VNet": lambda: nets.VNet(3, 1, 2),
}
SLOW = {"DynUNet, residual", "VNet"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in NETS]
)
def test_a_unet_of_monai_streams_with_the_outputs_of_its_pass_over_the_video(name):
    torch.manual_seed(0)
    net = NETS[name]().eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):  # as if it were trained
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    live = lean3d.stream(net, wait=True, frame=(1, 32, 32), check=False)
    assert live.delay > 0
    frames = 2 * live.chunk * max(1, 16 // live.chunk)
    videos = torch.randn(2, 1, frames, 32, 32)
    expected, found = live.run(videos), []
    padded = torch.cat([videos, torch.randn(2, 1, live.delay + live.chunk, 32, 32)], 2)
    state = live.init(2)
    for first in range(0, frames + live.delay, live.chunk):
        if first == frames:
            state = live.end(state)
        answer, state = live.step(padded[:, :, first : first + live.chunk], state)
        found.append(live.found.frames_second(answer, step=True))
    joined = torch.cat(found, 1)
    there = joined[:, ~joined[0].flatten(1).isnan().any(1)]
    torch.testing.assert_close(there, expected, atol=2e-5, rtol=1e-4)


REFUSED = {
    "instance_norm in .* may mix frames": lambda: nets.UNet(
        3, 1, 2, channels=(4, 8), strides=(2,), norm="instance"
    ),
    "with align_corners=True": lambda: nets.BasicUNet(
        3, 1, 2, features=(4, 4, 4, 8, 8, 4), norm="batch", upsample="nontrainable"
    ),
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_depends_on_the_whole_video_is_refused_by_name(said):
    with pytest.raises(LeanError, match=said):
        lean3d.stream(REFUSED[said]().eval(), wait=True, frame=(1, 32, 32))
