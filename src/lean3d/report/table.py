"""Format rows for people, as aligned text, and for programs, as one line of JSON."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from lean3d.report.cells import Columns, Row, column_names, column_texts, is_number

__all__ = ["format_table", "json_line"]


def format_table(rows: Sequence[Row], columns: Columns = None) -> str:
    """Return aligned plain text: a header, a rule, one line per row; "-" where a row has no value.

    Args:
        columns: Keys in order, or key -> header, with the unit in the header: {"macs": "MACs (G)"}.
    """
    cells = [
        _column(header, [row.get(key) for row in rows])
        for key, header in column_names(rows, columns).items()
    ]
    head, *body = ["  ".join(line).rstrip() for line in zip(*cells, strict=True)] or [""]
    rule = "-" * max(map(len, [head, *body]))
    return "\n".join([head, rule, *body])


def json_line(value: Any) -> str:
    """One compact line of JSON; NaN and infinities become null, tensors of one value numbers."""
    return json.dumps(_plain(value), separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _column(header: str, values: list[Any]) -> list[str]:
    texts = [header, *column_texts(values)]
    width = max(map(len, texts))
    to_right = any(is_number(value) for value in values)
    return [text.rjust(width) if to_right else text.ljust(width) for text in texts]


def _plain(value: Any) -> Any:
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
