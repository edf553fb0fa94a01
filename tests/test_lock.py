import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from lean3d.errors import RunError
from lean3d.lock import LOCK, held

HOLDER = """
import os, sys, time
from multiprocessing import get_context
from lean3d.lock import held
with held(sys.argv[1]):
    if len(sys.argv) > 2:  # a worker, as a loader has, that lives longer
        worker = get_context("fork").Process(target=time.sleep, args=(5,))
        worker.start()
        print(worker.pid)
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process in the folder, and the workers it started."""
    with ExitStack() as ends:

        def start(*more):
            command = [sys.executable, "-c", HOLDER, tmp_path / "run", *more]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            ends.callback(process.stdout.close)
            ends.callback(process.wait)
            ends.callback(process.kill)
            worker = None
            while (line := process.stdout.readline()) != "held\n":
                worker = int(line)
                ends.callback(os.kill, worker, signal.SIGKILL)
            return process, worker

        yield start


def test_a_second_run_is_refused_and_deletes_nothing(tmp_path, holder):
    process, _ = holder()
    (tmp_path / "run" / ".metrics.half.csv").write_text("of the first run")
    expected = rf"{tmp_path / 'run'} is in use by process {process.pid} on \S+; wait"
    with pytest.raises(RunError, match=expected), held(tmp_path / "run"):
        pass
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [LOCK, ".metrics.half.csv"]


def test_a_kill_releases_the_folder_at_once_though_workers_live_on(tmp_path, holder):
    process, worker = holder("with a worker")
    process.kill()
    process.wait()
    os.kill(worker, 0)
    with held(tmp_path / "run"):
        pass
    assert not (tmp_path / "run" / LOCK).exists()


def test_the_folder_is_free_after_the_run_and_nothing_stays_in_it(tmp_path):
    with held(tmp_path / "a" / "run"):
        assert (tmp_path / "a" / "run" / LOCK).exists()
    assert list(tmp_path.iterdir()) == []
    with held(tmp_path / "run"):
        (tmp_path / "run" / "kept").touch()
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["kept"]


def test_the_same_thread_enters_again_and_another_does_not(tmp_path):
    said = []

    def enter():
        try:
            with held(tmp_path):
                said.append("entered")
        except RunError as error:
            said.append(str(error))

    with held(tmp_path):
        enter()
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
    assert said[0] == "entered"
    assert re.search(rf"in use by process {os.getpid()}, this one", said[1])


def test_who_waits_gets_in_when_the_folder_is_free(tmp_path):
    order = []

    def enter():
        with held(tmp_path, wait=True):
            order.append("second")

    with held(tmp_path):
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_processes_that_take_turns_never_share_the_folder(tmp_path):
    """Each adds one to a number, and the folder is made and removed with the lock in it."""
    code = """
import multiprocessing, sys
from pathlib import Path
from lean3d.lock import held
def add():
    count = Path(sys.argv[2])
    for _ in range(30):
        with held(sys.argv[1], wait=True):
            count.write_text(str(int(count.read_text()) + 1))
processes = [multiprocessing.get_context("fork").Process(target=add) for _ in range(3)]
for process in processes: process.start()
for process in processes: process.join()
sys.exit(max(process.exitcode for process in processes))
"""
    count = tmp_path / "count"
    count.write_text("0")
    subprocess.run([sys.executable, "-c", code, tmp_path / "run", count], check=True)
    assert count.read_text() == "90"


def test_a_folder_that_another_process_removes_is_made_again(tmp_path, monkeypatch):
    real, left = os.open, [tmp_path / "run"]

    def late(path, *rest):
        if left and Path(path).parent == left[0]:
            left.pop().rmdir()
        return real(path, *rest)

    monkeypatch.setattr(os, "open", late)
    with held(tmp_path / "run"):
        assert (tmp_path / "run" / LOCK).is_file()
    assert not left
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot make the run folder"), held(tmp_path / "file" / "a"):
        pass
