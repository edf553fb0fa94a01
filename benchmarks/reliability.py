"""Write docs/reliability.md: what lean3d promises, the tests that hold it, and their last figures.

    python benchmarks/reliability.py [--run]

With --run the tests of every promise run first, the slow ones too (two hours), and their counts
are kept in results/reliability.json; stopped, it goes on with the next file. The figures of the
fuzz tests are those that make fuzz wrote.
"""

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from lean3d.files import write_between, write_text

HERE = Path(__file__).parent
HOME = HERE.parent
RECORD = HERE / "results" / "reliability.json"
# ends of an input that keep the promise; the last is one sentence, but not lean3d's own
FINE = ("result", "refused", "unforeseen")
PAGE = HOME / "docs" / "reliability.md"


@dataclass(frozen=True)
class Promise:
    """One line of what users may rely on.

    Attributes:
        about: What it is about, in a word or two.
        what: The promise.
        tests: Files, or tests as FILE::NAME, that fail when it is broken.
        surfaces: Of the fuzz tests, whose figures stand with it.
    """

    about: str
    what: str
    tests: tuple[str, ...]
    surfaces: tuple[str, ...] = ()


COMMANDS = ("command lines", "scans", "videos", "weights", "recipes", "run folders")
PROMISES = (
    Promise(
        "one sentence",
        "Whatever is typed or handed in, a command gives a result, or one sentence of at most 400 "
        "characters on stderr and exit code 2",
        (
            "tests/fuzz/test_fuzz_commands.py",
            "tests/fuzz/test_fuzz_files.py",
            "tests/fuzz/test_fuzz_runs.py",
            "tests/fuzz/test_fuzz_folders.py",
        ),
        COMMANDS,
    ),
    Promise(
        "one sentence",
        "A call from Python gives a result, or raises a LeanError with one sentence",
        ("tests/fuzz/test_fuzz_calls.py", "tests/test_typed.py"),
        ("public functions", "operators", "streams"),
    ),
    Promise(
        "safe to load",
        "Loading weights, checkpoints and runs never runs code that they hold",
        ("tests/fuzz/test_fuzz_runs.py", "tests/fuzz/test_fuzz_law.py::test_a_pickle_runs_no_code"),
        ("weights", "run folders"),
    ),
    Promise(
        "time and memory",
        "No input takes more than 10 s of one core or 2 GB, whatever it claims to hold",
        ("tests/fuzz/test_fuzz_law.py", "tests/fuzz/test_fuzz_files.py"),
        COMMANDS,
    ),
    Promise(
        "writing",
        "A file is written whole or not at all, and a refusal writes nothing",
        ("tests/test_files.py", "tests/fuzz/test_fuzz_commands.py"),
        ("command lines",),
    ),
    Promise(
        "writing",
        "Devices and pipes are written through, links followed, sources never overwritten",
        ("tests/test_files.py", "tests/cli/test_cli_outputs.py"),
    ),
    Promise(
        "resume",
        "A killed run goes on to the weights it would have had, whatever its schedule",
        (
            "tests/train/test_resume.py",
            "tests/train/test_fit.py",
            "tests/recipes/test_resumed_runs.py",
            "tests/cli/test_random_kills.py",
        ),
    ),
    Promise(
        "locks",
        "Two runs in one folder are refused, by a lock that a kill releases",
        ("tests/test_lock.py",),
    ),
    Promise(
        "signals",
        "Ctrl-C and SIGTERM end every command at once, with their exit code and one sentence",
        ("tests/test_signals.py", "tests/cli/test_stopping.py"),
    ),
    Promise(
        "streams",
        "Steps of causal networks give what one pass over the video gives, at every frame",
        ("tests/streaming/test_stream_law.py", "tests/streaming/test_random_nets.py"),
    ),
    Promise(
        "streams",
        "Non-causal networks give the outputs they were trained to give, delayed",
        ("tests/streaming/test_waiting.py",),
    ),
    Promise(
        "streams",
        "Streams neither grow nor drift",
        ("tests/streaming/test_stream_soak.py",),
    ),
    Promise(
        "threads",
        "Streams that share a model give the right outputs from any number of threads",
        ("tests/streaming/test_stream_threads.py",),
    ),
    Promise(
        "threads",
        "Converted networks give the right outputs from any number of threads, and as replicas",
        ("tests/conversion/test_threads.py", "tests/zoo/test_zoo_threads.py"),
    ),
    Promise(
        "processes",
        "Converted networks are spawned, forked, loaded by workers and sharded (FSDP2) like others",
        ("tests/conversion/test_processes.py",),
    ),
    Promise(
        "threads",
        "A conversion leaves other threads their random numbers, cores, warnings and stderr",
        (
            "tests/conversion/test_threads.py"
            "::test_threads_beside_a_conversion_work_as_if_there_were_none",
            "tests/conversion/test_threads.py::test_a_conversion_draws_from_nobody",
        ),
    ),
    Promise(
        "conversions",
        "A conversion that is called isotropic treats depth exactly as height, or is refused",
        ("tests/conversion/test_self_check.py", "tests/conversion/test_mutations.py"),
        ("random networks, ACS",),
    ),
    Promise(
        "conversions",
        "Planar conversions equal the 2D network slice by slice; unconvert brings it back",
        ("tests/fuzz/test_fuzz_networks.py", "tests/conversion/test_unconvert.py"),
        ("random networks, planar", "random networks, repeated image"),
    ),
    Promise(
        "drop-in",
        "What is put into a converted network later becomes 3D, or is refused by name",
        ("tests/conversion/test_afterwards.py", "tests/zoo/test_timm_afterwards.py"),
    ),
    Promise(
        "drop-in",
        "A volume that a converted network does not take is refused with a size that fits",
        ("tests/conversion/test_misfit.py",),
    ),
    Promise(
        "drop-in",
        "Operators take nn.Conv3d's arguments, give its sizes and work with PyTorch's tools",
        (
            "tests/ops/test_contract.py",
            "tests/ops/test_torch_inputs.py",
            "tests/ops/test_recorded.py",
        ),
        ("operators",),
    ),
    Promise(
        "small needs",
        "import lean3d needs torch and numpy alone",
        ("tests/test_import.py",),
    ),
)  # fmt: skip


def run_tests() -> None:
    """Run every file that is named, and keep how many of each test passed, file by file.

    Files that were run at this commit are not run again, so a command that was stopped goes on.
    """
    files = sorted({name.partition("::")[0] for promise in PROMISES for name in promise.tests})
    describe = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(describe, capture_output=True, text=True, cwd=HOME).stdout.strip()
    for file in files:
        record = figures()[0]
        if record.get(file, {}).get("commit") == commit:
            continue
        found = {"commit": commit, "date": str(datetime.date.today()), "tests": counts_of(file)}
        record = {name: old for name, old in record.items() if name in files} | {file: found}
        write_text(RECORD, json.dumps(record, indent=1, sort_keys=True) + "\n")


def counts_of(file: str) -> dict[str, dict[str, int]]:
    """Run a file of tests, the slow ones too."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "", f"--junitxml={report}", file]
        subprocess.run(command, cwd=HOME, check=False)
        cases = list(ET.parse(report).getroot().iter("testcase"))
    counts: dict[str, dict[str, int]] = {}
    for case in cases:
        bad = any(child.tag in ("failure", "error") for child in case)
        kind = "failed" if bad else "skipped" if case.find("skipped") is not None else "passed"
        count = counts.setdefault(case.get("name", "").partition("[")[0], {})
        count[kind] = count.get(kind, 0) + 1
    return counts


def tests_figure(promise: Promise, record: dict) -> str:
    """How many of its tests passed when they were last run."""
    total = dict.fromkeys(("passed", "failed", "skipped"), 0)
    for test in promise.tests:
        file, _, chosen = test.partition("::")
        for name, count in record.get(file, {}).get("tests", {}).items():
            for kind, n in count.items() if chosen in ("", name) else ():
                total[kind] += n
    return ", ".join(f"{n} {kind}" for kind, n in total.items() if n) or "tests not run yet"


def fuzz_figure(promise: Promise, fuzz: dict) -> str:
    """Inputs of its surfaces, and how many broke the law."""
    kinds = [fuzz.get("surfaces", {}).get(surface, {}) for surface in promise.surfaces]
    inputs = sum(sum(count.values()) for count in kinds)
    fine = sum(count.get(kind, 0) for count in kinds for kind in FINE)
    return f"{inputs:,} inputs, {inputs - fine} broke it" if inputs else ""


def figures() -> tuple[dict, dict]:
    """What the tests, and what the newest fuzz, gave when they were last run."""
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    found = sorted((HERE / "results").glob("fuzz_*.json"))
    return record, json.loads(found[-1].read_text()) if found else {}


def page(record: dict, fuzz: dict) -> str:
    lines = ["| about | promise | held by | last figures |", "|---|---|---|---|"]
    for promise in PROMISES:
        tests = ", ".join(f"`{name.removeprefix('tests/')}`" for name in promise.tests)
        figures = [tests_figure(promise, record), fuzz_figure(promise, fuzz)]
        lines.append(
            f"| {promise.about} | {promise.what} | {tests} | {'; '.join(filter(None, figures))} |"
        )
    when = "Tests: not run."
    if record:
        commits = sorted({(one["date"], one["commit"]) for one in record.values()})
        at = ", ".join(f"{commit} ({date})" for date, commit in commits)
        when = f"Tests: at commit {at}."
    if fuzz:
        when += (
            f" Fuzz: {fuzz['date']}, commit {fuzz['commit']}, {fuzz['inputs']:,} inputs of seeds "
            f"{', '.join(map(str, fuzz['seeds']))}, slowest {fuzz['slowest_s']} s of one core."
        )
    return "\n".join([*lines, "", when])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", action="store_true", help="run the tests first")
    if parser.parse_args().run:
        run_tests()
    write_between(PAGE, "promises", page(*figures()))


if __name__ == "__main__":
    main()
