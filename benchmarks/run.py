"""Run the operators' tests, then time them and write results/<theme>_<hardware>_<yyyy-mm>.md.

    python benchmarks/run.py [--rounds 9] [--skip-tests] [--theme streaming]

Nothing is timed while a test fails.
"""

import argparse
import datetime
import inspect
import platform
import re
import subprocess
import sys
from pathlib import Path

import convert_speed
import operators
import optimize
import streaming
import targets
import torch

from lean3d.files import write_text
from lean3d.report.table import format_table, json_line

HERE = Path(__file__).parent
# name -> what measures it, and the tests that must pass before
THEMES = {
    "operators": (operators.operators, "tests/ops"),
    "atoms": (operators.atoms, "tests/ops"),
    "acs": (operators.acs, "tests/ops"),
    "convert_speed": (convert_speed.convert_speed, "tests/conversion/test_convert_core.py"),
    "optimize": (optimize.optimize, "tests/runtime"),
    "targets": (targets.targets, "tests/runtime"),
    "streaming": (streaming.streaming, "tests/streaming"),
}


def hardware() -> str:
    """The processor's name and the cores in use."""
    names = re.findall(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return f"{names[0] if names else platform.processor()}, {torch.get_num_threads()} threads"


def commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, cwd=HERE).stdout.strip()


def results_file(name: str) -> Path:
    """Where the results of this machine and month are written."""
    slug = re.sub(r"[^a-z0-9]+", "-", hardware().lower()).strip("-")
    return HERE / "results" / f"{name}_{slug}_{datetime.date.today():%Y-%m}.md"


def markdown(rows: list[dict]) -> str:
    head = [f"| {' | '.join(rows[0])} |", "|" + "---|" * len(rows[0])]
    return "\n".join([*head, *(f"| {' | '.join(map(str, row.values()))} |" for row in rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--skip-tests", action="store_true")
    parser.add_argument("--theme", choices=THEMES, action="append", help="all by default")
    arguments = parser.parse_args()
    themes = {name: THEMES[name] for name in arguments.theme or THEMES}
    if not arguments.skip_tests:
        tests = {folder for _, folder in themes.values()}
        command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", *sorted(tests)]
        if subprocess.run(command, cwd=HERE.parent).returncode:
            sys.exit("tests fail: nothing was timed")
    today = datetime.date.today()
    results = {}
    for theme, (measure, _) in themes.items():
        rows, about = measure(arguments.rounds), inspect.getdoc(measure)
        results[theme] = rows
        print(f"\n{about}\n{format_table(rows)}", flush=True)
        text = (
            f"# {theme}\n\n{about}\n\n{hardware()}; torch {torch.__version__}; commit "
            f"{commit()}; {today}; medians of {arguments.rounds} interleaved rounds, float32, "
            f"contiguous input.\n`python benchmarks/run.py --theme {theme}`\n\n{markdown(rows)}\n"
        )
        write_text(results_file(theme), text)
    print(json_line(results))


if __name__ == "__main__":
    main()
