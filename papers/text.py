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
    """A sentence of the hardware, torch, the commits and the day; of several, what ran on which.

    A name that ran on several has its seeds.
    """
    machines: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for entry in entries:
        where = entry["where"]
        machines.setdefault((where["hardware"], where.get("tf32")), []).append(entry)
    told = []
    for (hardware, tf32), ran in machines.items():
        where = ran[-1]["where"]
        commits = list(dict.fromkeys(str(entry["where"]["commit"]) for entry in ran))
        names = ", ".join(_named(ran, entries))
        told.append(
            (f"{names}: " if len(machines) > 1 else "")
            + hardware
            + (", convolutions in TF32" if tf32 else "")
            + f", torch {where['torch']}, commit{'s' if len(commits) > 1 else ''} "
            + f"{', '.join(commits)}, {where['date'][:10]}"
        )
    return "; ".join(told) + "."


def _named(ran: Sequence[Mapping[str, Any]], entries: Sequence[Mapping[str, Any]]) -> list[str]:
    named = []
    for name in dict.fromkeys(entry["name"] for entry in ran):
        own = [str(entry["seed"]) for entry in ran if entry["name"] == name]
        some = len(own) < sum(entry["name"] == name for entry in entries)
        seeds = f" (seed{'s' if len(own) > 1 else ''} {', '.join(own)})"
        named.append(name + seeds if some else name)
    return named
