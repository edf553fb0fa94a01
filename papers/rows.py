"""A paper's number beside ours: one row, a table of them, and the table in a README."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lean3d.files import write_between

__all__ = ["FITTED", "FORMULA", "LIMIT", "TWICE", "Row", "markdown", "report", "verdict"]

# why a row is shown and not counted
FORMULA = "the paper's number is its formula, worked out here"
LIMIT = "the paper prints the limit of its formula alone"
FITTED = "sizes chosen to give it"
TWICE = "printed twice, counted once"

HEAD = ("name", "quantity", "paper", "ours", "unit", "exact", "note")


@dataclass(frozen=True)
class Row:
    """One published number.

    Args:
        published: As printed, a string: its digits say how exact it can be.
        ours: In the same unit, unrounded.
        note: The definition used, where the row does not reproduce or needs one.
        aside: Why the row is not counted as reproduced, however exact it is: one of FORMULA,
            LIMIT, FITTED, TWICE.
    """

    name: str
    quantity: str
    published: str
    ours: float
    unit: str
    note: str = ""
    aside: str = ""

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
        exact = f"({exact})" if self.aside else exact
        note = "; ".join(filter(None, (self.aside, self.note)))
        return self.name, self.quantity, self.published, ours, self.unit, exact, note


def markdown(rows: Iterable[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [HEAD, ("---", "---", "---:", "---:", "---", "---", "---")]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [*lines, *(row.cells for row in rows)])


def verdict(rows: Iterable[Row]) -> str:
    """How many of the rows that count are exact, and how many do not count."""
    rows = list(rows)
    counted = [row for row in rows if not row.aside]
    text = f"{sum(row.exact for row in counted)} of {len(counted)} exact"
    left = len(rows) - len(counted)
    return f"{text}; {left} in brackets not counted." if left else f"{text}."


def report(rows: Iterable[Row], folder: Path) -> None:
    """Print the rows and a verdict, and write both between the row markers of the README there."""
    rows = list(rows)
    text = f"{markdown(rows)}\n\n{verdict(rows)}"
    write_between(folder / "README.md", "rows", text)
    print(text)
