import time

import pytest
import torch
from torch import nn

from lean3d.cost import bench
from lean3d.cost.latency import interleaved, ratios, training_step
from lean3d.errors import LeanError


def test_calls_take_turns_and_the_first_turn_does_not_count():
    order = []
    times = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert order == ["a", "b"] * 4
    assert {name: len(own) for name, own in times.items()} == {"a": 3, "b": 3}


def test_calls_that_settle_are_not_timed():
    slow = iter([0.0, 0.05, 0.05, 0.0] + [0.05, 0.05, 0.0] * 2)
    times = interleaved({"a": lambda: time.sleep(next(slow))}, 3, settle=2)
    assert len(times["a"]) == 3
    assert max(times["a"]) < 0.05


def test_a_ratio_is_taken_within_each_round():
    times = {"a": [2.0, 30.0, 2.0], "b": [1.0, 10.0, 4.0]}
    assert ratios(times, "b") == {"a": 2.0, "b": 1.0}


def test_seconds_are_what_the_call_takes():
    (slept,) = interleaved({"sleep": lambda: time.sleep(0.02)}, 1)["sleep"]
    assert slept >= 0.02


def test_a_training_step_reaches_every_weight_and_leaves_no_gradient():
    model, reached = nn.Sequential(nn.Conv1d(2, 3, 1), nn.ReLU()), []
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(lambda p: reached.append(p.shape))
    x = torch.randn(1, 2, 5, requires_grad=True)
    x.register_post_accumulate_grad_hook(lambda p: reached.append(p.shape))
    training_step(model, x)()
    assert len(reached) == 3
    assert all(tensor.grad is None for tensor in (x, *model.parameters()))


@pytest.mark.slow
def test_each_model_is_timed_in_both_kinds_of_work():
    models = {"small": nn.Conv1d(2, 4, 3), "large": nn.Sequential(nn.Conv1d(2, 400, 3), nn.ReLU())}
    timings = bench(models, torch.randn(4, 2, 9000), rounds=3)
    done = [(timing.model, timing.work) for timing in timings]
    assert done == [(n, w) for w in ("forward", "training step") for n in models]
    for timing in timings:
        assert timing.samples_per_s == pytest.approx(4 / (timing.ms / 1e3))
    assert [timing.ratio for timing in timings if timing.model == "large"] == [1, 1]
    # 4 x 400 x 8998 outputs of four bytes, twice
    assert timings[1].peak_mib > 100 > timings[0].peak_mib


def test_a_forward_runs_in_inference_and_a_step_in_training():
    seen = []

    class Spy(nn.Linear):
        def forward(self, x):
            seen.append((self.training, torch.is_grad_enabled()))
            return super().forward(x)

    bench({"a": Spy(2, 2)}, torch.randn(3, 2), rounds=1)
    assert set(seen[:3]) == {(False, False)}
    assert set(seen[3:]) == {(True, True)}


def test_an_input_that_cannot_be_trained_on_is_one_sentence():
    model = nn.Sequential(nn.Conv1d(2, 2, 3), nn.BatchNorm1d(2))
    with pytest.raises(LeanError, match="cannot do a training step on this input: Expected more"):
        bench({"a": model}, torch.randn(1, 2, 3), rounds=1)


def test_no_rounds_are_refused():
    with pytest.raises(LeanError, match="one round or more, got 0"):
        bench({"a": nn.Linear(2, 2)}, torch.randn(1, 2), rounds=0)
