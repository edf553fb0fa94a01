"""Tables of the measured claims."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["measured_by", "table"]


def table(rows: Iterable[Mapping[str, Any]], align: str = "---:") -> str:
    """Markdown, with all columns but the first aligned to the right or as `align` says."""
    rows = list(rows)
    head = list(rows[0])
    lines = [head, ["---", *[align] * (len(head) - 1)], *([str(r[k]) for k in head] for r in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def measured_by(entries: Sequence[Mapping[str, Any]]) -> str:
    """A sentence of the hardware, torch, the commit and the day; of several, what ran on which."""
    machines: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for entry in entries:
        where = entry["where"]
        machines.setdefault((where["hardware"], where.get("tf32")), []).append(entry)
    told = []
    for (hardware, tf32), ran in machines.items():
        where = ran[-1]["where"]
        names = ", ".join(dict.fromkeys(entry["name"] for entry in ran))
        told.append(
            (f"{names}: " if len(machines) > 1 else "")
            + hardware
            + (", convolutions in TF32" if tf32 else "")
            + f", torch {where['torch']}, commit {where['commit']}, {where['date'][:10]}"
        )
    return "; ".join(told) + "."
