import errno
import os
from functools import partial

import numpy as np
import pytest
from cli_cases import save

from lean3d.cli import optimize as command
from lean3d.cli import stream as watching
from lean3d.cli.main import main
from lean3d.recipes import found
from lean3d.runtime import BACKENDS, first_call, optimize, register_backend


@pytest.fixture
def lean3d(capsys):
    """Runs the command line: exit code, stdout and stderr."""

    def run(*argv):
        try:
            code = main([str(word) for word in argv])
        except SystemExit as stopped:
            code = stopped.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def refused(lean3d, monkeypatch):
    """Runs what must fail, and returns its one sentence; however slow the machine is."""
    monkeypatch.setattr(found, "SOON_S", 600)

    def run(*argv):
        code, out, err = lean3d(*argv)
        assert code == 2
        assert out == ""
        assert err.startswith("lean3d: ")
        assert err.count("\n") == 1
        return err

    return run


@pytest.fixture
def few_backends(monkeypatch):
    """`--optimize` measures what takes no time to build."""
    few = partial(optimize, backends=["channels_last"])
    monkeypatch.setattr(first_call, "optimize", few)
    monkeypatch.setattr(watching, "optimize", few)


@pytest.fixture
def few_bits(monkeypatch):
    """int8 is what rounds the inputs, in steps of the range that they have in calibration."""
    ranges = []

    @register_backend("few bits", "int8")
    def make(source):
        ranges.append(max(float(x.abs().max()) for x, *_ in source.calibration))
        step = ranges[-1] / 127
        return lambda x, *state: source.model((x / step).round() * step, *state)

    measured = partial(optimize, backends=["few bits"])
    monkeypatch.setattr(first_call, "optimize", measured)
    monkeypatch.setattr(command, "optimize", lambda *a, backends, **more: measured(*a, **more))
    yield ranges
    del BACKENDS.parts["few bits"]


@pytest.fixture
def full_disk(monkeypatch):
    """No file beyond 10 kB reaches the disk.

    A limit of the process would stop what pytest writes too, where that goes to a file.
    """
    sync = os.fsync

    def full(handle):
        if os.fstat(handle).st_size > 10_000:
            raise OSError(errno.EFBIG, "File too large")
        sync(handle)

    monkeypatch.setattr(os, "fsync", full)


@pytest.fixture
def cases(tmp_path):
    """Three bright balls in noise with their labels, 10 x 12 x 8 voxels of 6 mm^3 each."""
    random = np.random.default_rng(0)
    for case in range(3):
        image = random.normal(0, 0.1, (10, 12, 8)).astype(np.float32)
        label = np.zeros(image.shape, np.uint8)
        label[3:8, 4:9, 2:6] = 1
        save(tmp_path / "data" / "images" / f"case{case}.nii.gz", image + label)
        save(tmp_path / "data" / "labels" / f"case{case}.nii.gz", label)
    return tmp_path / "data"
