"""Read the CSV files that come with data sets."""

import csv
from pathlib import Path

from lean3d.errors import DataError

__all__ = ["read_table"]


def read_table(path: Path, *columns: str) -> list[dict[str, str]]:
    """Return the rows of a CSV file with a header, by column; empty cells are "".

    Args:
        columns: Columns it must have.

    Raises:
        DataError: it is missing, damaged, or has not the columns.
    """
    if not path.is_file():
        raise DataError(f"there is no {path}; give the data set's own folder")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            rows, header = list(table), [name or "" for name in table.fieldnames or ()]
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(f"cannot read {path}: {error}; it is damaged: copy it again") from error
    if missing := set(columns) - set(header):
        raise DataError(
            f"{path} has no column {', '.join(sorted(missing))}; its header is "
            f"{', '.join(header)[:80] or 'empty'}: separate columns by commas"
        )
    for number, row in enumerate(rows, 1):
        if None in row:
            raise DataError(
                f"row {number} of {path} has more values than its header has columns "
                f"({', '.join(header)[:80]}); correct it"
            )
    return [{name or "": value or "" for name, value in row.items()} for row in rows]
