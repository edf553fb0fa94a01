"""Records what a conversion did and the results of its self-check."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Check", "Conversion", "Grade", "Row"]

Grade = Literal["isotropic", "planar", "unchecked"]


@dataclass(frozen=True)
class Row:
    """A module that was changed.

    Args:
        exact: True if the module alone gives the 2D output on a volume that repeats one image
            along depth, False if it does not, a number for the relative error of a fitted kernel.
        kept: Whether its weights were carried over, or fitted to.
    """

    path: str
    before: str
    after: str
    exact: bool | float
    kept: bool


@dataclass(frozen=True)
class Check:
    """One comparison of the 3D model with the 2D one.

    Args:
        error: Largest difference, relative to the largest 2D value; None if there is no number.
        volume: (depth, height, width) of the input volume.
        detail: The first failure.
    """

    name: str
    passed: bool
    error: float | None
    tolerance: float
    volume: tuple[int, ...]
    detail: str = ""

    def __str__(self) -> str:
        size = "x".join(map(str, self.volume))
        verdict = "passed" if self.passed else f"failed at {self.detail or 'the model itself'!r}"
        if self.error is None:
            return f"{self.name} on {size}: {verdict}"
        return f"{self.name} on {size}: {verdict}, error {self.error:.1e} (<= {self.tolerance:.0e})"


@dataclass(frozen=True)
class Conversion:
    """The record attached to a converted model as `model.conversion`.

    Args:
        grade: "isotropic": depth is treated exactly as height. "planar": every slice keeps the 2D
            output, but depth and height differ. "unchecked": `note` gives the reason nothing was
            run. "fitted": lean operators approximate the 3D kernels, each row gives the error.
            "causal": no output depends on later frames; rows give the part of a kernel that moved
            to another frame.
        ends: What in_channels and num_classes changed in the 2D model before the conversion.
    """

    how: Any
    grade: Grade | Literal["fitted", "causal"]
    rows: tuple[Row, ...]
    checks: tuple[Check, ...] = ()
    note: str = ""
    ends: tuple[str, ...] = ()

    def __str__(self) -> str:
        head = ("path", "before", "after", "exact", "weights kept")
        body = [(row.path or "(model)", row.before, row.after, *_marks(row)) for row in self.rows]
        lines = [*_aligned([head, *body]), "", *self.ends, *map(str, self.checks)]
        lines += [self.note] if self.note else []
        return "\n".join([*lines, f"{self.how}: {len(self.rows)} modules changed, {self.grade}"])


def _marks(row: Row) -> tuple[str, str]:
    exact = ("yes" if row.exact else "no") if isinstance(row.exact, bool) else f"{row.exact:.1e}"
    return exact, "yes" if row.kept else "no"


def _aligned(table: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    rows = (zip(row, widths, strict=True) for row in table)
    return ["  ".join(cell.ljust(width) for cell, width in row).rstrip() for row in rows]
