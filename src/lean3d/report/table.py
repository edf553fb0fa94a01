"""Format rows for people, as aligned text, and for programs, as one line of JSON."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from lean3d.report.cells import Columns, Row, column_names, column_texts, is_number
from lean3d.table import lay_out

__all__ = ["format_table", "json_line"]


def format_table(rows: Sequence[Row], columns: Columns = None, *, width: int | None = None) -> str:
    """Return aligned plain text: a header, a rule, one line per row; "-" where a row has no value.

    Args:
        columns: Keys in order, or key -> header, with the unit in the header: {"macs": "MACs (G)"}.
        width: The most characters of a line, as `lay_out` fits them; any number by default.
    """
    named = column_names(rows, columns)
    values = [[row.get(key) for row in rows] for key in named]
    right = [n for n, column in enumerate(values) if any(map(is_number, column))]
    texts = [[head, *column_texts(v)] for head, v in zip(named.values(), values, strict=True)]
    return lay_out(texts, right=right, width=width)


def json_line(value: object) -> str:
    """One compact line of JSON; NaN and infinities become null, tensors of one value numbers."""
    return json.dumps(_plain(value), separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _plain(value: object) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    # numpy scalars, arrays and tensors
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return [_plain(item) for item in value] if isinstance(value, Iterable) else str(value)
