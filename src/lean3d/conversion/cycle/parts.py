"""What is known of the parts of a network that runs on planes in turn.

Axes: N slices, R rows, S columns, C channels, G tokens without a position.
"""

from dataclasses import dataclass, field

__all__ = ["TOKENS", "Block", "Leaf", "Network", "Resampling"]

# the axis of the tokens: (N, G + R * S, C), (G + R * S, N, C) or (N, C, G + R * S)
TOKENS = {"tokens": 1, "first": 0, "channels": 2}


@dataclass(frozen=True)
class Leaf:
    """What one argument of a block is.

    Args:
        kind: How it holds slices, or "rows", "columns" or "size" of a slice, "asked": a table for
            the size of the slices, or "other".
        prefix: Tokens without a position.
        sure: No other reading fits: of (N, 64, 64, 64) that of channels last does as well.
    """

    kind: str
    prefix: int = 0
    sure: bool = field(default=True, compare=False)

    @property
    def holds_slices(self) -> bool:
        return self.kind in ("map", "last", "whole", *TOKENS)

    @property
    def batch_axis(self) -> int:
        return 1 if self.kind == "first" else 0


@dataclass(frozen=True)
class Block:
    """How one block runs.

    Args:
        path: Its name in the network.
        plane: On which its forward runs.
        given: What its arguments are, in the order of their leaves.
        returned: The same of its outputs.
        grid: Rows and columns of its map in the survey.
    """

    path: str
    plane: str
    given: tuple[Leaf, ...]
    returned: tuple[Leaf, ...]
    grid: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Resampling:
    """How depth follows a module that changes the size of the plane.

    Args:
        shrink: Rows that become one; 1 if it enlarges the plane.
        kept: It leaves depth alone.
        kind: How its first argument holds slices.
        prefix: Tokens of that without a position.
        before: Rows and columns that it was given in the survey.
        after: Those that it returned.
    """

    path: str
    shrink: int
    kept: bool
    kind: str = "map"
    prefix: int = 0
    before: tuple[int, int] = (1, 1)
    after: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class Network:
    """How the network runs.

    Args:
        order: The planes; what is outside the blocks runs on the first.
        depth_stride: Slices averaged into one at the entry.
        kept: Rows of the input a row of the smallest map that keeps depth.
        asks: Blocks get tables for the size of the slices; their pitch is the rows of the input a
            row of these, and the columns a column.
        functions: Forwards that resample by functions, or hold on to the size of a batch.
        returned: What the outputs of its forward are.
        tilings: Rows and columns of patches that are cut without a module.
    """

    order: tuple[str, ...]
    tokens: str
    depth_stride: int
    kept: int
    asks: bool
    pitch: tuple[int, int]
    prefix: int
    functions: bool
    returned: tuple[Leaf, ...] = ()
    tilings: tuple[tuple[int, int], ...] = ()
