"""Format rows of values as columns of text, each column with one number of decimals."""

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

__all__ = ["Columns", "Row", "column_names", "column_texts", "is_number"]

Row = Mapping[str, Any]
Columns = Sequence[str] | Mapping[str, str] | None


def column_names(rows: Iterable[Row], columns: Columns = None) -> dict[str, str]:
    """Return key and header of each column: as given, else every key in order of appearance."""
    if isinstance(columns, Mapping):
        return dict(columns)
    keys = columns if columns is not None else (key for row in rows for key in row)
    return {key: key for key in keys}


def column_texts(values: Sequence[Any]) -> list[str]:
    """Format one column: whole numbers whole, others with the decimals the largest needs."""
    numbers = [abs(float(value)) for value in values if is_number(value)]
    whole = all(isinstance(value, Integral) for value in values if is_number(value))
    decimals = 0 if whole else _decimals(max(numbers, default=0.0))
    return [_text(value, decimals) for value in values]


def is_number(value: object) -> bool:
    """Whether it is a finite number, and not a bool."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _decimals(largest: float) -> int:
    """Return decimals for about four digits of the largest; 0.0123 keeps four decimals."""
    if largest == 0:
        return 1
    return min(max(3 - math.floor(math.log10(largest)), 0), 6) if largest < 1e4 else 0


def _text(value: object, decimals: int) -> str:
    if value is None or (isinstance(value, Real) and math.isnan(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.{decimals}f}" if is_number(value) else str(value)
