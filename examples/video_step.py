"""One frame in, one answer out: a causal network over a clip and frame by frame."""

import torch
from torch import nn

import lean3d
from lean3d.ops import CausalConv3d
from lean3d.ops.causal_pools import CausalMaxPool3d

model = nn.Sequential(
    CausalConv3d(3, 8, kernel_size=3, padding=1),
    nn.BatchNorm3d(8),
    nn.ReLU(),
    CausalMaxPool3d(2, stride=(1, 2, 2), past=1),
    CausalConv3d(8, 8, kernel_size=3, padding=1),
).eval()
live = lean3d.stream(model)  # refused if a layer looked ahead

clip_BCTHW = torch.randn(1, 3, 10, 64, 64)
whole_BTCHW = live.run(clip_BCTHW)
state = live.init(batch_size=1)
for t, frame_BCHW in enumerate(clip_BCTHW.unbind(2)):
    answer_BCHW, state = live.step(frame_BCHW, state)
    assert torch.allclose(answer_BCHW, whole_BTCHW[:, t], atol=1e-5)

print(f"{t + 1} frames, the same answers; the state holds {len(state) - 1} caches")
