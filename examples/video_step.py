"""One frame in, one answer out: a causal convolution over a clip and frame by frame."""

import torch

from lean3d.ops import CausalConv3d

op = CausalConv3d(3, 8, kernel_size=3, padding=1, first="replicate").eval()
clip_BCTHW = torch.randn(1, 3, 10, 64, 64)

with torch.inference_mode():
    whole_BCTHW = op(clip_BCTHW)
    state = None
    for t, frame_BCHW in enumerate(clip_BCTHW.unbind(2)):
        answer_BCHW, state = op.step(frame_BCHW, state)
        assert torch.allclose(answer_BCHW, whole_BCTHW[:, :, t], atol=1e-5)

print(f"{t + 1} frames, the same answers; the state holds {tuple(state.shape)}")
