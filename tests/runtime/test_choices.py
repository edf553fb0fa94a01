"""What `optimize` chose is kept in a file, and a network may be optimised at its first call."""

import copy
import json
import pickle
import threading
from functools import partial

import pytest
import torch
from torch import nn

import lean3d
from lean3d import LeanError, optimize
from lean3d.runtime import BACKENDS, OptimizedAtFirstCall, first_call, register_backend
from lean3d.runtime.choices import Choices

FEW = ["channels_last", "fused"]


@pytest.fixture
def net():
    torch.manual_seed(0)
    conv = lean3d.ops.ACSConv3d
    return nn.Sequential(conv(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU()).eval()


@pytest.fixture
def built(monkeypatch):
    """A backend that is always quickest, and how often it was made."""
    made = []

    @register_backend("cached")
    def cached(source):
        made.append(source)
        outputs = {}

        def run(x):
            key = (tuple(x.shape), float(x.sum()))
            if key not in outputs:
                outputs[key] = source.model(x)
            return outputs[key]

        return run

    yield made
    del BACKENDS.parts["cached"]


X = torch.randn(2, 1, 8, 9, 10, generator=torch.Generator().manual_seed(1))


def test_a_choice_is_found_again_and_nothing_is_timed(net, built, tmp_path):
    path = tmp_path / "choices.json"
    first = optimize(net, X, backends=[*FEW, "cached"], choices=path)
    again = optimize(net, X, backends=[*FEW, "cached"], choices=path)
    assert (first.backend, again.backend) == ("cached", "cached")
    assert {row["backend"] for row in again.rows()} == {"eager", "cached"}
    assert all(row["ms"] != row["ms"] for row in again.rows())
    torch.testing.assert_close(again(X), net(X))


@pytest.mark.slow
@pytest.mark.parametrize("change", ["input", "precision", "network", "machine"])
def test_another_case_is_measured_and_added(net, tmp_path, change):
    path = tmp_path / "choices.json"
    optimize(net, X, backends=FEW, choices=path)
    others = {
        "input": lambda: optimize(net, X[:1], backends=FEW, choices=path),
        "precision": lambda: optimize(
            net, X, precision="bfloat16", backends=["autocast"], choices=path
        ),
        "network": lambda: optimize(net.append(nn.ReLU()), X, backends=FEW, choices=path),
    }
    if change == "machine":
        rows = json.loads(path.read_text())
        rows[0]["case"]["hardware"] = "another"
        path.write_text(json.dumps(rows))
    fast = others.get(change, lambda: optimize(net, X, backends=FEW, choices=path))()
    assert any(row["ms"] == row["ms"] for row in fast.rows())
    assert len(json.loads(path.read_text())) == 2


def test_choices_of_two_processes_are_both_kept(net, tmp_path):
    path = tmp_path / "choices.json"
    first, second = (Choices(path, net, [x], "float32") for x in (X, X[:1]))
    first.keep("fused")
    second.keep("channels_last")
    assert [row["backend"] for row in json.loads(path.read_text())] == ["fused", "channels_last"]


@pytest.mark.slow
def test_trained_weights_keep_the_choice(net, tmp_path):
    path = tmp_path / "choices.json"
    optimize(net, X, backends=FEW, choices=path)
    with torch.no_grad():
        net[0].weight.mul_(2)
    fast = optimize(net, X, backends=FEW, choices=path)
    torch.testing.assert_close(fast(X), net(X))
    assert len(json.loads(path.read_text())) == 1


@pytest.mark.slow
def test_a_chosen_backend_that_no_longer_runs_is_chosen_anew(net, tmp_path):
    path = tmp_path / "choices.json"
    optimize(net, X, backends=FEW, choices=path)
    rows = json.loads(path.read_text())
    rows[0]["backend"] = "gone"
    path.write_text(json.dumps(rows))
    assert optimize(net, X, backends=FEW, choices=path).backend in FEW
    assert json.loads(path.read_text())[0]["backend"] in FEW


@pytest.mark.parametrize(
    "text", ["", "[", "{}x", "[1]", '[{"case": 1}]', '[{"case": {}, "backend": 2}]', "3"]
)
def test_a_file_of_something_else_is_refused_and_kept(net, tmp_path, text):
    path = tmp_path / "choices.json"
    path.write_text(text)
    with pytest.raises(LeanError, match="holds no choices"):
        optimize(net, X, backends=FEW, choices=path)
    assert path.read_text() == text


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(first_call, "optimize", partial(optimize, backends=FEW))


@pytest.mark.usefixtures("few")
def test_the_first_call_decides_and_later_ones_are_equal(net, tmp_path):
    said = []
    fast = OptimizedAtFirstCall(net, tmp_path / "choices.json", said.append).to("cpu")
    with torch.inference_mode():
        for x in (X, X[:1], X[..., :7]):
            torch.testing.assert_close(fast(x), net(x))
    assert len(said) == 1
    assert not fast.train().training
    for other in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        torch.testing.assert_close(other(X), net(X))


@pytest.mark.slow
@pytest.mark.usefixtures("few")
def test_what_moves_is_optimised_again_and_what_stays_is_not(net):
    said = []
    fast = OptimizedAtFirstCall(net, say=said.append)
    fast(X)
    fast.to("cpu")(X)
    assert len(said) == 1
    doubled = fast.double()(X.double())
    assert doubled.dtype == torch.float64
    assert len(said) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("few")
def test_threads_that_call_at_once_optimise_once(net):
    said, outputs = [], {}
    fast = OptimizedAtFirstCall(net, say=said.append)

    def call(n):
        with torch.no_grad():
            outputs[n] = fast(X + n)

    threads = [threading.Thread(target=call, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == 1
    for n, output in outputs.items():
        torch.testing.assert_close(output, net(X + n).detach())
