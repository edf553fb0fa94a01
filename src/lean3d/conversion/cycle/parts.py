"""What is known of the parts of a network that runs on planes in turn.

Axes: N slices, R rows, S columns, C channels.
"""

from dataclasses import dataclass

__all__ = ["Block", "Leaf", "Network", "Resampling"]


@dataclass(frozen=True)
class Leaf:
    """What one argument of a block is.

    Args:
        kind: How it holds slices, or "rows", "columns" or "size" of a slice, "asked": a table for
            the size of the slices, or "other".
        prefix: Tokens without a position.
    """

    kind: str
    prefix: int = 0

    @property
    def holds_slices(self) -> bool:
        return self.kind in ("map", "last", "tokens", "whole")


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
        last: Its maps are (N, R, S, C).
    """

    path: str
    shrink: int
    kept: bool
    last: bool = False


@dataclass(frozen=True)
class Network:
    """How the network runs.

    Args:
        order: The planes; what is outside the blocks runs on the first.
        depth_stride: Slices averaged into one at the entry.
        kept: Rows of the input a row of the smallest map that keeps depth.
        asks: Blocks get tables for the size of the slices; their pitch is the rows of the input a
            row of these.
        functions: Forwards that resample by functions, or hold on to the size of a batch.
    """

    order: tuple[str, ...]
    tokens: str
    depth_stride: int
    kept: int
    asks: bool
    pitch: int
    prefix: int
    functions: bool
