"""The law: a result, or one sentence, in bounded time and memory; nothing written on refusal."""

import atexit
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import lru_cache, wraps
from pathlib import Path

from fuzz_verdict import FINE, Input, Outcome
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

# inputs of all surfaces together, their seed, and where totals go (make fuzz sets all three)
INPUTS = int(os.environ.get("LEAN3D_FUZZ_INPUTS", 150))
SEED = int(os.environ.get("LEAN3D_FUZZ_SEED", 0))
TOTALS = os.environ.get("LEAN3D_FUZZ_TOTALS")

totals: dict[str, Counter] = {}
slowest: dict[str, float] = {}
broken: list[str] = []
# refused in one sentence, but by the last line of defence
unforeseen: list[str] = []


@lru_cache(1)
def server() -> subprocess.Popen:
    """Started by the first input, ended with the tests."""
    folder = Path(tempfile.mkdtemp(prefix="lean3d-fuzz-"))
    command = [sys.executable, __file__.replace("fuzz_law", "fuzz_server")]
    command += [str(folder / "template"), str(folder / "work")]
    alone = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **alone}
    )

    def stop() -> None:
        process.stdin.close()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(stop)
    return process


def outcome(asked: Input) -> Outcome:
    """Run an input and say what became of it."""
    process = server()
    pickle.dump(asked, process.stdin)
    process.stdin.flush()
    return pickle.load(process.stdout)


def count(surface: str, kind: str) -> None:
    totals.setdefault(surface, Counter())[kind] += 1


def hold(asked: Input) -> None:
    """Fail with the exact input that breaks the law; with TOTALS go on and list it at the end."""
    found = outcome(asked)
    assert found.kind != "bad setup", f"{asked}\n{found.said}"
    count(asked.surface, found.kind)
    slowest[asked.surface] = max(slowest.get(asked.surface, 0.0), found.seconds)
    if found.kind == "unforeseen":
        unforeseen.append(f"{found.said}\n  {asked}")
    if found.kind in FINE:
        return
    line = f"{found.kind} at {found.where or '?'}: {found.said}\n  {asked}"
    if TOTALS is None:
        raise AssertionError(line)
    broken.append(line)


def fuzz(share: float, inputs: SearchStrategy):
    """A test over its share of all inputs; the same ones for the same seed."""
    # to look for the smallest input that fails may take longer than all of them
    quiet = settings(
        phases=[Phase.generate] if TOTALS else list(Phase),
        max_examples=max(1, round(share * INPUTS)),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    return lambda test: seed(SEED)(quiet(given(inputs)(test)))


def lawful(surface: str, test: Callable[[str], None]) -> Callable[[str], None]:
    """A test of one input that asserts its own law; counted, and with TOTALS listed, as others."""

    @wraps(test)
    def held(code: str) -> None:
        try:
            test(code)
        except Exception as error:
            if TOTALS is None:
                raise
            count(surface, "wrong")
            broken.append(
                f"wrong: {type(error).__name__}: {str(error)[:2000]}\n  {surface}: {code}"
            )
        else:
            count(surface, "result")

    return held


def write_totals() -> None:
    """What this session found, as one line of JSON behind those of earlier rounds."""
    if TOTALS is not None and totals:
        record = {
            "seed": SEED,
            "surfaces": {name: dict(count) for name, count in totals.items()},
            "slowest_s": {name: round(s, 2) for name, s in slowest.items()},
            "broken": broken,
            "unforeseen": unforeseen,
        }
        with open(TOTALS, "a") as file:
            file.write(json.dumps(record) + "\n")
