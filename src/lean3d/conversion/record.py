"""Records what a conversion did and the results of its self-check."""

from dataclasses import dataclass
from typing import Any, Literal

from lean3d.table import lay_out, wrap

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
            to another frame. "cycled": every block gives its 2D output on the slices of its plane.
        ends: What in_channels and num_classes changed in the 2D model before the conversion.
        before: The record of the conversion that the model had been through.
    """

    how: Any
    grade: Grade | Literal["fitted", "causal", "cycled"]
    rows: tuple[Row, ...]
    checks: tuple[Check, ...] = ()
    note: str = ""
    ends: tuple[str, ...] = ()
    before: "Conversion | None" = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        # models that lean3d 0.1 stored have no `before`
        vars(self).update({"before": None} | state)

    def __str__(self) -> str:
        return self.table()

    def table(self, width: int | None = None) -> str:
        """Every change, the checks and the grade as text.

        Args:
            width: The most characters of a line of the changes: longer texts are cut.
        """
        head = ("path", "before", "after", "exact", "weights kept")
        body = [(row.path or "(model)", row.before, row.after, *_marks(row)) for row in self.rows]
        changes = lay_out(list(zip(head, *body, strict=True)), width=width)
        said = [*self.ends, *map(str, self.checks), *([self.note] if self.note else [])]
        said.append(f"{self.how}: {len(self.rows)} modules changed, {self.grade}")
        earlier = f"{self.before.table(width)}\n\n" if self.before is not None else ""
        return f"{earlier}{changes}\n\n{wrap(said, width)}"


def _marks(row: Row) -> tuple[str, str]:
    exact = ("yes" if row.exact else "no") if isinstance(row.exact, bool) else f"{row.exact:.1e}"
    return exact, "yes" if row.kept else "no"
