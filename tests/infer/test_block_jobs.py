"""The processes that compute blocks."""

import os
import signal
import subprocess
import sys
import time

import pytest

PARENT = """
import os, time
from lean3d.infer.block_jobs import processes

if __name__ == "__main__":
    with processes(2) as pool:
        print(*{pool.submit(os.getpid).result() for _ in range(8)}, flush=True)
        time.sleep(60)
"""


def runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="reads /proc")
def test_workers_end_with_a_command_that_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        assert workers
        assert all(runs(pid) for pid in workers)
        parent.send_signal(signal.SIGKILL)
    until = time.monotonic() + 30
    while any(runs(pid) for pid in workers) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(runs(pid) for pid in workers)
