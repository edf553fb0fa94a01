"""Run what needs torch and numpy alone on old and new versions of Python, torch and numpy.

    python tests/matrix.py [3.10 ...]

Each row of MATRIX gets a virtual environment below .venv-matrix; an interpreter or a wheel that
cannot be had here is said in a line and skipped.
"""

import shutil
import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).parent.parent
FOLDER = HOME / ".venv-matrix"


def pinned(name: str) -> str:
    """The version that constraints.txt holds a package to."""
    lines = (HOME / "constraints.txt").read_text().splitlines()
    return next(line.partition("==")[2] for line in lines if line.startswith(f"{name}=="))


# Python, torch, numpy: each of their oldest and newest at least once
OLDEST = "2.6.0"
MATRIX = [
    ("3.10", OLDEST, "1.26.4"),
    ("3.11", pinned("torch"), "1.26.4"),
    ("3.12", OLDEST, "2.2.6"),
    ("3.13", pinned("torch"), pinned("numpy")),
]
TESTS = "tests/ops tests/conversion tests/streaming tests/models tests/cost tests/test_shape.py"
# torch's own test inputs need the last two
TOOLS = ("pytest", "expecttest", "hypothesis")
# of those, what compares with the zoos or runs ONNX
MORE = "tests/conversion/test_mutations.py tests/streaming/test_export_step.py"


def find_python(version: str) -> Path | None:
    """An interpreter of this version, on the path or among those of pyenv."""
    found = shutil.which(f"python{version}")
    if found and works(found):
        return Path(found)
    others = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    return others[-1] if others else None


def works(python: str) -> bool:
    # pyenv's shims are on the path whether or not the version is chosen
    return subprocess.run([python, "--version"], capture_output=True).returncode == 0


def make(python: Path, folder: Path, *packages: str) -> str:
    """Make an environment once; what stopped it, or nothing."""
    done = folder / ".installed"
    if done.exists():
        return ""
    subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
    command = [folder / "bin" / "pip", "install", "--quiet", "--no-input", *packages]
    pip = subprocess.run(command, capture_output=True, text=True, errors="replace")
    errors = [line for line in pip.stderr.splitlines() if "ERROR" in line]
    if pip.returncode:
        return (errors or ["pip failed"])[0]
    done.touch()
    return ""


def run(folder: Path) -> tuple[int, str]:
    """pytest's exit code and its last line."""
    command = [folder / "bin" / "python", "-m", "pytest", "-q", "-m", "not slow", *TESTS.split()]
    command += [f"--ignore={path}" for path in MORE.split()] + ["-p", "no:cacheprovider"]
    environment = {
        "PYTHONPATH": str(HOME / "src"),
        "PATH": "/usr/bin:/bin",
        "HOME": str(Path.home()),
    }
    tests = subprocess.run(command, cwd=HOME, env=environment, capture_output=True, text=True)
    lines = tests.stdout.splitlines()
    for line in lines:
        if line.startswith(("FAILED tests", "ERROR tests")):  # a log has lines of ERROR too
            print(f"  {line}")
    return tests.returncode, lines[-1] if lines else tests.stderr[-300:]


def main() -> int:
    chosen = sys.argv[1:] or [version for version, _, _ in MATRIX]
    failed = 0
    for version, torch, numpy in MATRIX:
        if version not in chosen:
            continue
        what = f"Python {version}, torch {torch}, numpy {numpy}"
        python = find_python(version)
        if python is None:
            print(f"{what}: skipped, there is no python{version} here", flush=True)
            continue
        folder = FOLDER / f"python{version}-torch{torch}-numpy{numpy}"
        why = make(python, folder, f"torch=={torch}", f"numpy=={numpy}", *TOOLS)
        if why:
            print(f"{what}: skipped, {why}", flush=True)
            continue
        code, line = run(folder)
        failed += code != 0
        print(f"{what}: {line}", flush=True)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
