"""Atoms shared by all channels: train on every second frame, then test on all of them."""

import torch

from lean3d.ops import AtomConv3d

op = AtomConv3d(16, 32, kernel_size=3, padding=1, spatial=6, temporal=2)
slow_BCTHW = torch.randn(1, 16, 8, 28, 28)  # every second frame
fast_BCTHW = slow_BCTHW.repeat_interleave(2, dim=2)  # all frames

few = op(slow_BCTHW)
many = op.dilate(time=2)(fast_BCTHW)  # the temporal atoms spread, the coefficients stay
print(torch.allclose(few[:, :, 1:-1], many[:, :, 2:-2:2], atol=1e-5))
print(sum(p.numel() for p in op.parameters()), "parameters, nn.Conv3d has", 16 * 32 * 27 + 32)
