"""Make a 3D network lean, fitted to its own weights, and a causal one that follows a video."""

import torch

import lean3d
from lean3d import Dissect, ParallelSeparable, SpaceTime

torch.manual_seed(0)
model = lean3d.create_model("resnet3d_18", widths=(8, 16, 16, 32)).eval()  # any 3D CNN will do
clip_BCTHW = torch.randn(1, 3, 8, 32, 32)

# one convolution: exact at full rank, and the distance is always told
conv = model.layer1[0].conv1[0]
whole, error = lean3d.decompose(conv, ParallelSeparable(3, filters="full"))
x_BCTHW = torch.randn(1, 8, 4, 16, 16)
assert error < 1e-6
assert torch.allclose(whole(x_BCTHW), conv(x_BCTHW), atol=1e-5)

# a network, at half of its multiply-adds
lean = lean3d.convert(model, SpaceTime("rank1"), example=clip_BCTHW, budget=0.5)
macs = [lean3d.count(network, clip_BCTHW.shape).macs for network in (lean, model)]
print(f"{macs[0] / macs[1]:.2f} of the multiply-adds, {len(lean.conversion.rows)} kernels cut")

# no frame before it is there, and none computed twice
live = lean3d.stream(lean3d.convert(model, Dissect()))
state = live.init()
for frame_BCHW in clip_BCTHW.unbind(2):
    scores, state = live.step(frame_BCHW, state)
print(tuple(scores.shape))
