import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from lean3d.files import write_whole
from lean3d.signals import Stopped, advising, check_stopped, stoppable, uninterrupted


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_what_runs_with_its_exit_code(number):
    handler = signal.getsignal(number)
    with pytest.raises(Stopped) as stopped, stoppable():
        send(number)
    assert stopped.value.code == 128 + number
    assert str(stopped.value) == f"stopped by {number.name}; run the command again"
    assert signal.getsignal(number) is handler


def test_a_second_signal_does_not_end_what_the_first_began_to_tidy_up():
    tidied = []

    def work():
        try:
            send(signal.SIGTERM)
        finally:
            send(signal.SIGTERM)
            send(signal.SIGINT)
            tidied.append(True)

    with pytest.raises(Stopped), stoppable():
        work()
    assert tidied == [True]


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            send(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_breaks_because_of_the_signal_is_not_what_is_said():
    def work():
        try:
            send(signal.SIGTERM)
        finally:
            raise RuntimeError("a worker is killed by signal: Terminated")

    with pytest.raises(Stopped), stoppable():
        work()


def test_a_signal_whose_exception_is_swallowed_ends_at_the_next_check():
    with stoppable():
        with contextlib.suppress(BaseException):  # as a destructor does
            send(signal.SIGTERM)
        with pytest.raises(Stopped):
            check_stopped()
    check_stopped()


def test_a_signal_in_a_destructor_ends_what_runs_without_a_word(capfd):
    class Dying:
        def __del__(self):
            send(signal.SIGTERM)
            time.sleep(0)

    def work():
        Dying()
        for _ in range(200):
            time.sleep(0.01)
        raise AssertionError("the signal was lost")

    with pytest.raises(Stopped), stoppable():
        work()
    assert capfd.readouterr().err == ""


def test_a_signal_while_a_destructor_is_reported_is_not_lost(capfd, monkeypatch):
    class Broken:
        def __del__(self):
            raise ValueError("while it went")

    def report(lost):
        reported.append(str(lost.exc_value))
        send(signal.SIGTERM)
        time.sleep(0)

    def work():
        Broken()
        for _ in range(200):
            time.sleep(0.01)
        raise AssertionError("the signal was lost")

    reported = []
    monkeypatch.setattr(sys, "unraisablehook", report)
    with pytest.raises(Stopped), stoppable():
        work()
    assert reported == ["while it went"]
    assert capfd.readouterr().err == ""


def test_a_signal_waits_for_the_end_of_a_short_section():
    done = []

    def work():
        with uninterrupted():
            with uninterrupted():
                send(signal.SIGTERM)
            done.append("inside")
        done.append("after")

    with pytest.raises(Stopped), stoppable():
        work()
    assert done == ["inside"]


def test_other_threads_run_as_they_did():
    done = []

    def work():
        with stoppable(), uninterrupted():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]


# a file that is opened when the signal comes is closed by the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_temporary_file_is_left_wherever_the_signal_comes(tmp_path):
    """At every line that writing a file executes, in turn."""
    reached = last = 0

    def trace(frame, event, argument):
        nonlocal reached
        if not frame.f_code.co_filename.endswith(("files.py", "contextlib.py", "tempfile.py")):
            return None
        reached += event == "line"
        if event == "line" and reached == last:
            sys.settrace(None)
            send(signal.SIGTERM)
        return trace

    def write():
        with stoppable():
            sys.settrace(trace)
            with write_whole(tmp_path / "file.bin") as temporary:
                temporary.write_bytes(b"whole")
            sys.settrace(None)

    for last in range(1, 500):
        reached = 0
        try:
            write()
            break
        except Stopped:
            pass
        assert {path.name for path in tmp_path.iterdir()} <= {"file.bin"}, f"line {last}"
    assert 20 < last < 499


@pytest.mark.parametrize("there", [False, True])
def test_advice_is_to_resume_once_there_is_what_to_resume(tmp_path, there):
    record = tmp_path / "recipe.json"
    if there:
        record.touch()
    advice = f"go on in {tmp_path} with the same command and --resume"
    with pytest.raises(Stopped, match=advice if there else "run the command again"):
        stop_in(advising(tmp_path, record.name))


def stop_in(context):
    with stoppable(), context:
        send(signal.SIGTERM)


def test_a_forked_child_that_is_terminated_is_silent(tmp_path):
    code = """
import multiprocessing, os, signal, time
from lean3d.signals import stoppable
def child(): time.sleep(60)
with stoppable():
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    time.sleep(0.5)
    process.terminate()
    process.join()
    print(process.exitcode)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"{128 + signal.SIGTERM}\n", "")
