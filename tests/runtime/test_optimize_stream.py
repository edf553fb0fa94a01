"""`optimize` of a stream: the same steps and states, whichever way is quickest."""

import copy
import pickle

import pytest
import torch
from torch import nn

import lean3d
from lean3d import LeanError, optimize
from lean3d.ops import CausalConv3d
from lean3d.runtime import OptimizedStream


def causal():
    torch.manual_seed(0)
    layers = [CausalConv3d(3, 6, 3, padding=1), nn.BatchNorm3d(6), nn.ReLU()]
    model = nn.Sequential(*layers, CausalConv3d(6, 4, 3, padding=1))
    nn.init.uniform_(model[1].running_var, 0.5, 2)
    nn.init.normal_(model[1].running_mean)
    return lean3d.stream(model.eval(), frame=(3, 8, 9))


def delayed():
    torch.manual_seed(0)
    layers = nn.Conv3d(3, 6, 3, padding=1), nn.BatchNorm3d(6), nn.ReLU(), nn.Conv3d(6, 4, 3)
    return lean3d.stream(nn.Sequential(*layers).eval(), wait=True, frame=(3, 8, 9))


def steps(live, frames, state=None):
    state = live.init(len(frames[0])) if state is None else state
    outputs = []
    for frame in frames:
        output, state = live.step(frame, state)
        outputs.append(output)
    return torch.stack(outputs), state


@pytest.mark.parametrize("way", ["fused", "onednn"])
@pytest.mark.parametrize("make", [causal, delayed])
def test_steps_and_states_are_those_of_the_stream(make, way):
    live = make()
    frames = torch.rand(7, 2, 3, 8, 9)
    fast = optimize(live, frames[0], backends=[way])
    assert fast.backend == way, fast.report()
    assert way in fast.report()
    assert not any(isinstance(m, nn.BatchNorm3d) for m in fast.model.modules())
    assert any(isinstance(m, nn.BatchNorm3d) for m in live.model.modules())
    (expected, known), (found, state) = steps(live, frames), steps(fast, frames)
    torch.testing.assert_close(found, expected, equal_nan=True)
    assert state.keys() == known.keys()
    # a state of one goes on in the other
    more, _ = steps(fast, frames, known)
    torch.testing.assert_close(more, steps(live, frames, known)[0], equal_nan=True)
    assert (fast.delay, fast.chunk, fast.waits) == (live.delay, live.chunk, live.waits)


@pytest.mark.parametrize("make", [causal, delayed])
def test_the_step_that_a_gpu_records_has_the_same_outputs(make):
    """On a CPU it runs without being recorded."""
    live = make()
    frames = torch.rand(9, 2, 3, 8, 9)
    fast = OptimizedStream(live, "cuda_graph")
    (expected, _), (found, state) = steps(live, frames), steps(fast, frames)
    torch.testing.assert_close(found, expected, equal_nan=True)
    (expected, _), (found, _) = steps(live, frames[:4], state), steps(fast, frames[:4], state)
    torch.testing.assert_close(found, expected, equal_nan=True)


@pytest.mark.parametrize("way", ["fused", "onednn"])
def test_copies_and_other_sizes_step_too(way):
    live = causal()
    fast = optimize(live, torch.rand(1, 3, 8, 9), backends=[way])
    frames = torch.rand(4, 3, 3, 10, 12)
    expected, _ = steps(live, frames)
    for own in (fast, copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        torch.testing.assert_close(steps(own, frames)[0], expected)


def test_packed_kernels_follow_the_weights_and_are_kept_once():
    live, frames = causal(), torch.rand(5, 1, 3, 8, 9)
    fast = OptimizedStream(live, "onednn")
    steps(fast, frames)
    kept = len(fast._packed._known)
    assert kept == 2
    with torch.no_grad():
        live.model[3].weight *= 2
    torch.testing.assert_close(steps(fast, frames)[0], steps(live, frames)[0])
    assert len(fast._packed._known) == kept
    # outside of its steps nothing is packed
    assert "_convolution_pointwise" not in recorded(lambda: live.step(frames[0], live.init()))
    assert "_convolution_pointwise" in recorded(lambda: fast.step(frames[0], fast.init()))


def recorded(call):
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        call()
    return " ".join(event.key for event in profile.key_averages())


def test_the_window_of_a_delayed_stream_is_kept():
    model = nn.Sequential(nn.Conv3d(3, 4, 3, padding=1), nn.AdaptiveAvgPool3d(1), nn.Flatten())
    live = lean3d.stream(model.eval(), wait=True, window=4, frame=(3, 8, 9), check=False)
    frames = torch.rand(9, 1, 3, 8, 9)
    fast = optimize(live, frames[0], backends=["fused"])
    torch.testing.assert_close(steps(fast, frames)[0], steps(live, frames)[0], equal_nan=True)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (dict(example=(torch.rand(1, 3, 8, 9), torch.rand(1))), "one frame"),
        (dict(precision="bfloat16"), "float32"),
        (dict(backends=["tensorrt"]), "no backend called 'tensorrt'"),
        (dict(backends=["openvino"]), "a stream runs by eager, fused, onednn, cuda_graph"),
        (dict(example=torch.rand(1, 4, 8, 9)), "axis C is 4, not 3"),
    ],
)
def test_wrong_arguments_are_refused(given, says):
    with pytest.raises(LeanError, match=says):
        optimize(causal(), given.pop("example", torch.rand(1, 3, 8, 9)), **given)
