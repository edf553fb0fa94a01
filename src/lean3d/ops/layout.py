"""Moves the axis of the channels.

Axes: B batch, C channels, D depth, H height, W width.
"""

from torch import Tensor, nn

__all__ = ["MoveChannels"]


class MoveChannels(nn.Module):
    """Move channels to the last axis, or from there to the second.

    Shape: (B, C, D, H, W) -> (B, D, H, W, C), or back.
    """

    def __init__(self, last: bool):
        super().__init__()
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(1, -1) if self.last else x.movedim(-1, 1)

    def extra_repr(self) -> str:
        return f"last={self.last}"
