import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from examples.demo.own_process import in_own_process
from lean3d.errors import DataError, RunError

HOME = Path(__file__).parents[2]


def add(left, right):
    return left + right, os.getpid()


def fail():
    raise DataError("the file is damaged")


class OddError(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


def fail_oddly():
    raise OddError("no", "way")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def test_the_result_comes_from_another_process():
    total, pid = in_own_process("sums", add, 1, 2)
    assert total == 3
    assert pid != os.getpid()


@pytest.mark.parametrize(
    ("function", "kind", "message"),
    [
        (fail, DataError, "^the file is damaged$"),
        (fail_oddly, RuntimeError, "OddError: no way"),
        (die, RunError, r"process for sums was killed \(exit code -9\), .* go on with --resume"),
    ],
)
def test_errors_and_deaths_of_the_process_are_errors_here(function, kind, message):
    with pytest.raises(kind, match=message):
        in_own_process("sums", function)


CODE = f"""
import os, sys, time
sys.path.insert(0, {str(HOME)!r})
from examples.demo.own_process import in_own_process
from lean3d.signals import stoppable
def work():
    print(os.getpid(), flush=True)
    time.sleep(60)
with stoppable():
    in_own_process("waiting", work)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_process_ends_with_the_one_that_waits_for_it(number):
    command = [sys.executable, "-c", CODE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as waiting:
        child = int(waiting.stdout.readline())
        waiting.send_signal(number)
        assert waiting.wait(20) == (-9 if number == signal.SIGKILL else 128 + number)
        # the pipes end when the last process that holds them does
        assert (waiting.stdout.read(), waiting.stderr.read()) == (b"", b"")
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    # no one may have waited for it, where the first process of the machine does not
    assert " Z " in Path(f"/proc/{child}/stat").read_text()
