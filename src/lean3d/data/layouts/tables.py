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
            rows = [{k or "": v or "" for k, v in row.items()} for row in csv.DictReader(file)]
    except (OSError, UnicodeError, csv.Error, AttributeError) as error:
        raise DataError(f"cannot read {path}: {error}; it is damaged: copy it again") from error
    if missing := set(columns) - set(rows[0] if rows else ()):
        raise DataError(f"{path} has no column {', '.join(sorted(missing))}; give the data's own")
    return rows
