"""Commands that a signal ends, each in a process of its own."""

import signal
import subprocess
import sys
import time

import pytest
from test_cli_stream import NET, film

START = "import sys; from lean3d.cli.main import main; sys.exit(main())"


def start(*words, **pipes):
    command = [sys.executable, "-c", START, *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **pipes)


def test_a_stream_that_is_ended_leaves_no_part_of_a_video(tmp_path):
    video, out = film(tmp_path / "film.mp4", frames=60), tmp_path / "out"
    out.mkdir()
    ask = "stream", NET[0], video, *NET[1:], "--realtime", "--json", "--out", out / "o.mp4"
    with start(*ask) as command:
        assert command.stdout.readline().startswith(b'{"source"')
        while not list(out.iterdir()):  # the first frame is named before it is written
            assert command.poll() is None
            time.sleep(0.01)
        command.send_signal(signal.SIGTERM)
        _, said = command.communicate(timeout=60)
    assert command.returncode == 128 + signal.SIGTERM
    assert said.decode().splitlines()[-1] == "lean3d: stopped by SIGTERM; run the command again"
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("raw", [["--raw", "64x48"], []], ids=["bare frames", "a file"])
def test_a_stream_that_waits_for_stdin_is_ended(tmp_path, raw):
    given = bytes(64 * 48 * 3 * 2) if raw else film(tmp_path / "film.mkv").read_bytes()[:2000]
    with start("stream", NET[0], "-", *NET[1:], *raw, "--json", stdin=subprocess.PIPE) as command:
        command.stdin.write(given)
        command.stdin.flush()
        if raw:
            command.stdout.readline()
        else:
            wait_for_handler(command.pid)
            time.sleep(1)
        command.send_signal(signal.SIGTERM)
        # not communicate, which would close stdin: the read goes on
        assert command.wait(60) == 128 + signal.SIGTERM
        said = command.stderr.read().decode()
    assert said.splitlines()[-1] == "lean3d: stopped by SIGTERM; run the command again"


def wait_for_handler(pid):
    """Until the process has a handler for SIGTERM."""
    for _ in range(600):
        with open(f"/proc/{pid}/status") as status:
            caught = next(line for line in status if line.startswith("SigCgt"))
        if int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.1)
    raise AssertionError("no handler")
