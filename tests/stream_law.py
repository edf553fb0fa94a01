"""The law of streams: every step gives the answer of the clip, whenever a stream began."""

import itertools

import torch
from torch.utils._pytree import tree_leaves


def single(output):
    (leaf,) = tree_leaves(output)
    return leaf


def assert_every_step_is_the_clip(live, size, *, frames=40, resets=0.06, dtype=torch.float32):
    """Three streams that start at different times and begin anew at random.

    Args:
        size: (C, H, W) of a frame.
        resets: The share of steps at which a stream begins anew.
    """
    draw = torch.Generator().manual_seed(1)
    channels, *plane = size
    video_BCTHW = torch.randn(3, channels, frames, *plane, generator=draw).to(dtype)
    begins = torch.rand(3, frames, generator=draw) < resets
    begins[:, 0] = begins[1, 1] = begins[2, 2] = True
    expected = [answers(live, video_BCTHW[b : b + 1], begins[b]) for b in range(3)]
    for y in expected:  # a network that sees nothing would show nothing
        assert (y[0] - y[-1]).abs().max() > 1e-4 * y.abs().max()
    state = live.init(3, height=plane[0], width=plane[1])
    for t in range(frames):
        state = live.reset(state, begins[:, t])
        answer, state = live.step(video_BCTHW[:, :, t], state)
        for b in range(3):
            allowed = 1e-5 * max(1.0, float(expected[b].abs().max()))
            torch.testing.assert_close(single(answer)[b], expected[b][t], atol=allowed, rtol=0)


def answers(live, video_BCTHW, begins_T):
    """(T, ...), those of the pieces of a video, each a clip by itself."""
    frames = len(begins_T)
    cuts = [*begins_T.nonzero().flatten().tolist(), frames]
    pieces = itertools.pairwise(cuts)
    return torch.cat([single(live.run(video_BCTHW[:, :, a:b]))[0] for a, b in pieces])
