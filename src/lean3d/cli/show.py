"""Print results: a table as wide as the terminal, and a line of JSON where a program reads."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from lean3d.cli.main import ASKED
from lean3d.report import format_table, json_line
from lean3d.report.cells import Columns, Row

__all__ = ["failures", "show_json", "show_table", "width"]


def width() -> int:
    """Columns of the terminal, or COLUMNS; 80 where there is neither."""
    return shutil.get_terminal_size().columns


def show_table(rows: Sequence[Row], columns: Columns = None, file: Any = None) -> None:
    """Print rows for people, as `format_table` takes them."""
    print(format_table(rows, columns, width=width()), file=file)


def show_json(record: Any, *, always: bool = False) -> None:
    """Print the last line, for programs: in a pipe or a file, or if it was asked for."""
    if always or ASKED.get() or not sys.stdout.isatty():
        print(json_line(record))


def failures(failed: Mapping[str, str], of: int, what: str) -> str:
    """Return one sentence for a folder of scans of which some failed: how many, and why one did."""
    first = next(iter(failed))
    return f"{len(failed)} of {of} scans {what}, such as {first}: {failed[first]}"
