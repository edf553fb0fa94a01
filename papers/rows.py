"""A paper's number beside ours: one row, a table of them, and the table in a README."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lean3d.files import write_between

__all__ = ["Row", "markdown", "report"]

HEAD = ("name", "quantity", "paper", "ours", "unit", "exact", "note")


@dataclass(frozen=True)
class Row:
    """One published number.

    Args:
        published: As printed, a string: its digits say how exact it can be.
        ours: In the same unit, unrounded.
        note: The definition used, where the row does not reproduce or needs one.
    """

    name: str
    quantity: str
    published: str
    ours: float
    unit: str
    note: str = ""

    @property
    def decimals(self) -> int:
        """Digits after the point of the published number."""
        return len(self.published.partition(".")[2])

    @property
    def exact(self) -> bool:
        """Whether ours, rounded to the digits the paper prints, is the paper's."""
        return f"{self.ours:.{self.decimals}f}" == self.published.replace(",", "")

    @property
    def cells(self) -> tuple[str, ...]:
        """What a table shows; ours has two digits more than printed, unless it is whole."""
        ours = f"{self.ours:,.{0 if self.ours == int(self.ours) else self.decimals + 2}f}"
        away = self.ours / float(self.published.replace(",", "")) - 1
        exact = "exact" if self.exact else f"{away:+.1%}"
        return self.name, self.quantity, self.published, ours, self.unit, exact, self.note


def markdown(rows: Iterable[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [HEAD, ("---", "---", "---:", "---:", "---", "---", "---")]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [*lines, *(row.cells for row in rows)])


def report(rows: Iterable[Row], folder: Path) -> None:
    """Print the rows and a verdict, and write both between the row markers of the README there."""
    rows = list(rows)
    verdict = f"{sum(row.exact for row in rows)} of {len(rows)} exact."
    text = f"{markdown(rows)}\n\n{verdict}"
    write_between(folder / "README.md", "rows", text)
    print(text)
