"""Tables of the measured claims."""

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["measured_by", "table"]


def table(rows: Iterable[Mapping[str, Any]], align: str = "---:") -> str:
    """Markdown, with all columns but the first aligned to the right or as `align` says."""
    rows = list(rows)
    head = list(rows[0])
    lines = [head, ["---", *[align] * (len(head) - 1)], *([str(r[k]) for k in head] for r in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def measured_by(where: Mapping[str, Any]) -> str:
    """A sentence of the hardware, torch, the commit and the day."""
    return (
        f"{where['hardware']}, torch {where['torch']}, commit {where['commit']}, "
        f"{where['date'][:10]}."
    )
