"""Int8 is calibrated on samples, compared with the network, and says what it cost."""

import logging
import sys

import pytest
import torch
from torch import nn

from lean3d import LeanError, optimize
from lean3d.runtime import BACKENDS, register_backend


def net():
    torch.manual_seed(0)
    layers = nn.Conv3d(1, 16, 3, padding=1), nn.BatchNorm3d(16), nn.ReLU(), nn.Conv3d(16, 4, 3)
    return nn.Sequential(*layers).eval()


def samples(count, *sizes):
    draw = torch.Generator().manual_seed(count)
    return [torch.randn(sizes or (1, 1, 8, 9, 10), generator=draw) for _ in range(count)]


@pytest.mark.parametrize("name", ["openvino", pytest.param("onnxruntime", marks=pytest.mark.slow)])
def test_int8_is_near_the_network_and_says_what_it_cost(name, capfd):
    pytest.importorskip("nncf" if name == "openvino" else name)
    model, (x, *others) = net(), samples(6)
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    fast = optimize(model, x, precision="int8", calibration=others, backends=[name])
    assert (capfd.readouterr().out, logging.getLogger().level) == ("", level)
    assert logging.getLogger().handlers == handlers
    row = next(row for row in fast.table if row.backend == name)
    assert row.note == ""
    # quantised, and not by much: a step of 8 bits is 0.4 % of a range
    assert 1e-4 < row.error < 0.05
    assert 1e-4 < row.rms < 0.05
    assert 0.9 < row.same < 1
    assert "same class" in fast.report()
    other = samples(1, 2, 1, 6, 8, 12)[0]
    found, expected = fast.runner(other), model(other).detach()
    assert found.shape == expected.shape
    assert float((found - expected).norm() / expected.norm()) < 0.1


@pytest.fixture
def few_bits():
    """A backend that computes in int8, with an error of its own for each sample."""

    @register_backend("few bits", "int8")
    def make(source):
        ranges = max(float(x.abs().max()) for (x,) in source.calibration)
        return lambda x: source.model(x.clamp(-ranges, ranges))

    yield
    del BACKENDS.parts["few bits"]


@pytest.mark.usefixtures("few_bits")
def test_samples_decide_the_ranges_and_the_tolerance_refuses():
    model, x = nn.Conv3d(1, 2, 1).eval(), torch.full((1, 1, 2, 2, 2), 2.0)
    wide = optimize(model, x, precision="int8", calibration=[2 * x], backends=["few bits"])
    assert wide.table[-1].error == wide.table[-1].rms == 0
    assert wide.table[-1].same == 1
    narrow = optimize(model, x, precision="int8", calibration=[x / 4], backends=["few bits"])
    assert narrow.backend == "eager"
    assert "1e-01 is allowed" in narrow.table[-1].note


GIVEN = samples(2)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "int8 needs calibration="),
        (dict(calibration=[]), "a list of one input or more"),
        (dict(calibration=GIVEN[0]), "a list of one input or more, got Tensor of shape"),
        (dict(calibration=[*GIVEN, 3]), r"calibration\[2\] is not of the example's kind"),
        (dict(calibration=[GIVEN[0].double()]), "not of the example's kind"),
        (dict(calibration=[(GIVEN[0], GIVEN[1])]), "not of the example's kind"),
        (dict(calibration=[GIVEN[0] / 0]), "infinite or NaN"),
        (dict(calibration=[GIVEN[0].expand(1, 2, 8, 9, 10)]), "does not run on calibration"),
        (dict(calibration=GIVEN, precision="float32"), "calibration= is for int8"),
        (dict(calibration=GIVEN, backends=["fused"]), "no such backend is named"),
    ],
)
def test_wrong_samples_are_refused(given, says):
    with pytest.raises(LeanError, match=says):
        optimize(net(), GIVEN[0], **{"precision": "int8"} | given)


def test_a_machine_without_the_libraries_is_told_what_to_install(monkeypatch):
    for name in ("nncf", "openvino", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(LeanError, match=r"openvino is not installed.*lean3d\[runtimes\]") as told:
        optimize(net(), GIVEN[0], precision="int8", calibration=GIVEN)
    assert len(str(told.value)) <= 400
