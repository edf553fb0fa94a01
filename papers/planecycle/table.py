"""Read what `papers.planecycle.transfer` measured: `python -m papers.planecycle.table FOLDER ...`.

Writes transfer.json and the table of README beside this file.
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from lean3d.files import write_between, write_text
from papers.planecycle.transfer import HOWS
from papers.text import table

__all__ = ["main", "section"]

HERE = Path(__file__).parent


def section(entries: list[dict[str, Any]]) -> str:
    """The table of README: a row for each data set, network, setting and way."""
    keys = sorted({_key(entry) for entry in entries})
    rows = []
    for key in keys:
        same = [entry for entry in entries if _key(entry) == key]
        if "refused" in same[0]:
            rows.append(_row(same[0], f"{100 * same[0]['flat dice']:.1f}", *["refused"] * 3, 1))
            continue
        scores = (_mean(same, name) for name in ("flat dice", "mauc", "accuracy", "dice"))
        rows.append(_row(same[0], *scores, len(same)))
    return f"{table(rows)}\n\nScores in percent, mean and deviation over seeds. {_places(entries)}"


def _places(entries: list[dict[str, Any]]) -> str:
    """Say which rows, by their steps in 2D, were measured where."""
    machines: dict[str, set[int]] = {}
    for entry in entries:
        where = f"{entry['where']['hardware']}, {entry['where']['date'][:10]}"
        machines.setdefault(where, set()).add(_key(entry)[2])
    told = (
        f"{' and '.join(map(str, sorted(steps)))} steps in 2D: {where}"
        for where, steps in sorted(machines.items())
    )
    return f"{'; '.join(told)}."


def _key(entry: dict[str, Any]) -> tuple[Any, ...]:
    how = list(HOWS).index(entry["how"])
    settings = entry.get("flat_steps", 1500), entry.get("probes", 400), entry.get("steps", 400)
    return (entry["data"], entry["network"], *settings, how)


def _row(
    entry: dict[str, Any], flat: str, mauc: str, accuracy: str, dice: str, seeds: int
) -> dict[str, str | int]:
    _, _, flat_steps, probes, steps, _ = _key(entry)
    return {
        "data": entry["data"],
        "network": entry["network"],
        "way": entry["how"],
        "steps in 2D": flat_steps,
        "Dice in 2D": flat,
        "volumes": probes,
        "features, mAUC": mauc,
        "features, accuracy": accuracy,
        "steps in 3D": steps,
        "fine-tuned, Dice": dice,
        "seeds": seeds,
    }


def _mean(entries: list[dict[str, Any]], name: str) -> str:
    known = [100 * entry[name] for entry in entries if name in entry]
    if not known:
        return "not run"
    spread = f" ± {statistics.stdev(known):.1f}" if len(known) > 1 else ""
    return f"{statistics.mean(known):.1f}{spread}"


def main() -> None:
    files = sorted(file for folder in sys.argv[1:] for file in Path(folder).glob("*.json"))
    entries = [json.loads(file.read_text()) for file in files]
    if not entries:
        raise SystemExit("no pieces; run python -m papers.planecycle.transfer first")
    write_text(HERE / "transfer.json", json.dumps(entries, indent=1) + "\n")
    write_between(HERE / "README.md", "transfer", section(entries))
    print(section(entries))


if __name__ == "__main__":
    main()
