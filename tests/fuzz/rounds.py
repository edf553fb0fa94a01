"""Hold the law over many inputs, round by round; stopped, it goes on with the next round.

    python tests/fuzz/rounds.py [--inputs 20000] [--seed 1]

A round is the fuzz tests with 2,000 inputs and a seed of its own. Prints the totals, lists what
broke the law, and writes benchmarks/results/fuzz_<yyyy-mm>.json.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from fuzz_verdict import BROKEN, FINE

from lean3d.files import write_text
from lean3d.report import format_table

HERE = Path(__file__).parent
HOME = HERE.parents[1]
ROUND = 2000
# of those that broke the law, or that no sentence of lean3d foresaw
SHOWN = 50


def run_round(totals: Path, seed: int) -> None:
    """One round; its line is appended to `totals` at its end."""
    more = dict(INPUTS=str(ROUND), SEED=str(seed), TOTALS=str(totals))
    environment = os.environ | {f"LEAN3D_FUZZ_{name}": value for name, value in more.items()}
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", str(HERE)]
    done = subprocess.run(command, cwd=HOME, env=environment, capture_output=True, text=True)
    if done.returncode:
        print(done.stdout[-6000:], done.stderr[-2000:], sep="\n")
        raise SystemExit(f"the round with seed {seed} did not end well")


def commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, cwd=HOME).stdout.strip()


def read_rounds(totals: Path) -> list[dict]:
    return [json.loads(line) for line in totals.read_text().splitlines()] if totals.exists() else []


def summed(rounds: list[dict]) -> dict:
    """All rounds as one record."""
    surfaces: dict[str, Counter] = {}
    slowest: dict[str, float] = {}
    for record in rounds:
        for name, count in record["surfaces"].items():
            surfaces.setdefault(name, Counter()).update(count)
            slowest[name] = max(slowest.get(name, 0.0), record["slowest_s"].get(name, 0.0))
    kinds = sum(surfaces.values(), Counter())
    return {
        "date": str(datetime.date.today()),
        "commit": commit(),
        "seeds": [record["seed"] for record in rounds],
        "inputs": kinds.total(),
        "kinds": dict(kinds),
        "broken": sum(kinds[kind] for kind in BROKEN),
        "slowest_s": max(slowest.values(), default=0.0),
        "surfaces": {name: dict(count) for name, count in sorted(surfaces.items())},
    }


def table(record: dict) -> str:
    rows = []
    for name, kinds in record["surfaces"].items():
        row = {"surface": name, "inputs": sum(kinds.values())}
        rows.append(row | {kind: kinds.get(kind, 0) for kind in (*FINE, *BROKEN)})
    return format_table(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1, help="of the first round")
    asked = parser.parse_args()
    totals = HOME / "runs" / "fuzz" / f"{commit()}_from_{asked.seed}.jsonl"
    totals.parent.mkdir(parents=True, exist_ok=True)
    rounds = read_rounds(totals)
    while (record := summed(rounds))["inputs"] < asked.inputs:
        run_round(totals, asked.seed + len(rounds))
        rounds = read_rounds(totals)
        print(f"{summed(rounds)['inputs']} of {asked.inputs} inputs", flush=True)
    listed = [line for part in rounds for line in [*part["broken"], *part["unforeseen"]]]
    print(table(record), *listed[:SHOWN], sep="\n")
    written = HOME / "benchmarks" / "results" / f"fuzz_{record['date'][:7]}.json"
    write_text(written, json.dumps(record, indent=1) + "\n")
    totals.unlink(missing_ok=True)
    return min(record["broken"], 1)


if __name__ == "__main__":
    sys.exit(main())
