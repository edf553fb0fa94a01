"""Batch norm over volumes that code for images recognises."""

from torch import nn

from lean3d.ops.leaf import Leaf

__all__ = ["BatchNorm3d"]


class BatchNorm3d(Leaf, nn.BatchNorm3d, nn.BatchNorm2d):
    """nn.BatchNorm3d that code which looks for nn.BatchNorm2d finds, as what freezes statistics.

    Shape: (B, C, D, H, W) -> (B, C, D, H, W).
    """
