"""Whatever goes wrong is one short sentence that hides what nobody needs to see."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from lean3d.cli.sentence import sentence
from lean3d.errors import LONGEST, DataError, RunError


class Broken(Dataset):
    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise self.error


def caught(function):
    with pytest.raises(BaseException) as info:  # noqa: PT011
        function()
    return info.value


def from_worker(error):
    return caught(lambda: next(iter(DataLoader(Broken(error), num_workers=1))))


def test_an_error_of_ours_is_said_as_it_is():
    assert sentence(RunError("no such\n thing")) == "lean3d: no such thing"


@pytest.mark.parametrize("text", ["x.mp4 is cut short; copy it again", "first\nsecond: third"])
def test_a_workers_error_is_said_without_its_traceback(text):
    assert sentence(from_worker(DataError(text))) == f"lean3d: {' '.join(text.split())}"


@pytest.mark.slow
def test_a_workers_unforeseen_error_is_one_sentence_too():
    said = sentence(from_worker(ZeroDivisionError("division by zero")))
    assert said.startswith("lean3d: ZeroDivisionError: division by zero; ")
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("make", "size"),
    [
        (lambda: torch.empty(2**50, dtype=torch.uint8), "1.0 PiB"),
        (lambda: np.empty(2**47), "1.00 PiB"),
        (lambda: bytearray(2**60), "more"),
    ],
)
def test_memory_is_said_with_the_size_asked_for(make, size):
    said = sentence(caught(make))
    assert said.startswith(f"lean3d: out of memory: {size} asked for, ")
    assert "are free; " in said


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.empty(2**40, 2**40, device="meta"),
        lambda: torch.empty(2**70),
        lambda: np.empty(2**62),
        lambda: int("9" * 5000),
        lambda: int(float("inf")),
        lambda: torch.zeros(1).add_(torch.zeros(1), alpha=1e39),
    ],
)
def test_numbers_beyond_64_bits_are_named_as_such(make):
    assert "a number is too large" in sentence(caught(make))


def test_torchs_insides_and_advice_are_not_repeated(tmp_path):
    torch.save({"a": Broken(None)}, tmp_path / "a.pt")
    error = caught(lambda: torch.load(tmp_path / "a.pt", weights_only=True))
    for each in (error, RunError(f"cannot read a.pt: {error}")):
        said = sentence(each)
        assert "weights_only" not in said
        assert "holds more than tensors" in said
    inside = RuntimeError('t.is_contiguous() INTERNAL ASSERT FAILED at "/a/b.cpp":3, please report')
    assert ".cpp" not in sentence(inside)


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://user:pass@host/a",
        "rtsp://user:p@ss/w@host/a",
        "https://host/a?x=1&password=pass",
        "https://host/a?token=pass",
    ],
)
def test_no_password_is_repeated(address):
    said = sentence(DataError(f"cannot read {address}: Connection refused"))
    assert "pass@" not in said
    assert "=pass" not in said
    assert "p@ss" not in said
    assert "host" in said
    assert "Connection refused" in said


def test_a_long_sentence_keeps_its_beginning_and_its_end():
    said = sentence(RunError(f"{'x' * 5000}; do this"))
    assert len(said) == LONGEST
    assert said.startswith("lean3d: xxx")
    assert said.endswith("; do this")


@pytest.mark.parametrize("part", ["x", "x.", "a://", "a://b@", '"', "(", "?key=", "numel "])
def test_text_without_end_takes_no_time(part):
    start = time.process_time()
    said = sentence(RuntimeError(part * (1_000_000 // len(part)) + "; do this"))
    assert len(said) <= LONGEST
    assert time.process_time() - start < 2


def test_an_argument_without_end_is_refused(refused):
    assert "an argument has 100,000 characters" in refused("count", "x" * 100_000)


def test_what_no_terminal_takes_is_escaped():
    assert sentence(DataError("b\udcff.mp4 \x1b[2J")) == "lean3d: b\\udcff.mp4 \\x1b[2J"


@pytest.mark.parametrize(
    "error", [KeyError("state_dict"), RecursionError("deep"), AssertionError(), Exception("a\nb")]
)
def test_every_error_is_one_line(error):
    assert sentence(error).count("\n") == 0
    assert len(sentence(error)) < LONGEST


def crash(monkeypatch):
    def fail(*args):
        raise KeyError("nobody foresaw this")

    monkeypatch.setattr("lean3d.cli.train.get_recipe", fail)


def test_an_unforeseen_error_is_a_sentence_and_its_traceback_is_kept_for_debugging(
    lean3d, refused, monkeypatch
):
    crash(monkeypatch)
    assert "KeyError: 'nobody foresaw this'" in refused("train", "brain3d")
    monkeypatch.setenv("LEAN3D_DEBUG", "1")
    code, _, err = lean3d("train", "brain3d")
    assert code == 2
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("lean3d: KeyError")


@pytest.mark.parametrize("argument", ["b\udcff.mp4", "a\0b"])
def test_arguments_that_are_no_text_are_refused(refused, argument):
    assert "is not UTF-8" in refused("stream", "d_resnet_18", argument)


def cli(*argv, **more):
    code = "import sys; from lean3d.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *argv]
    run = subprocess.run(command, stderr=subprocess.PIPE, text=True, **more)
    return run.returncode, run.stderr


@pytest.fixture(params=["", "1"])
def buffering(request, monkeypatch):
    """Whether stdout writes at every line or at the end."""
    monkeypatch.setenv("PYTHONUNBUFFERED", request.param)


@pytest.mark.usefixtures("buffering")
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_stdout_is_one_sentence():
    with open("/dev/full", "w") as full:
        code, err = cli("--help", stdout=full)
    assert code == 2
    assert err.startswith("lean3d: ")
    assert err.endswith("No space left on device\n")
    assert err.count("\n") == 1


@pytest.mark.usefixtures("buffering")
def test_stdout_that_is_closed_is_one_sentence():
    ours, theirs = os.pipe()
    os.close(ours)
    code, err = cli("--help", stdout=theirs)
    os.close(theirs)
    assert code == 2
    assert err.startswith("lean3d: ")
    assert err.endswith("Broken pipe\n")
    assert err.count("\n") == 1


def test_names_are_printed_on_a_terminal_that_lacks_their_letters(monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    code, err = cli("pérdict", stdout=subprocess.DEVNULL)
    assert code == 2
    assert "p\\u00e9rdict" in err
