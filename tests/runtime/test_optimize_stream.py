"""`optimize` of a stream: the same steps and states, whichever way is quickest."""

import copy
import pickle

import pytest
import torch
from torch import nn

import lean3d
from lean3d import LeanError, optimize
from lean3d.ops import CausalConv3d
from lean3d.runtime import BACKENDS, load_optimized, register_backend, save_optimized
from lean3d.runtime.captured import Captured
from lean3d.runtime.step import OptimizedStream
from lean3d.runtime.step_network import StepNetwork


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


def near(found, expected, tolerance=1e-5):
    assert torch.equal(found.isnan(), expected.isnan())
    found, expected = found.nan_to_num(), expected.nan_to_num()
    assert float((found - expected).abs().max()) <= tolerance * float(expected.abs().max())


# building it takes seconds
OTHER = pytest.param("onnxruntime", marks=pytest.mark.slow)
LAST = pytest.param("channels_last", marks=pytest.mark.slow)


@pytest.mark.parametrize("way", ["fused", LAST, "onednn", OTHER])
@pytest.mark.parametrize("make", [causal, delayed])
def test_steps_and_states_are_those_of_the_stream(make, way):
    if way == "onnxruntime":
        pytest.importorskip("onnxruntime")
    live = make()
    frames = torch.rand(7, 2, 3, 8, 9)
    fast = optimize(live, frames[0], backends=[way])
    assert fast.backend == way, fast.report()
    assert way in fast.report()
    (expected, known), (found, state) = steps(live, frames), steps(fast, frames)
    near(found, expected)
    assert {key: value.dtype for key, value in state.items()} == {
        key: value.dtype for key, value in known.items()
    }
    # a state of one goes on in the other
    more, _ = steps(fast, frames, known)
    near(more, steps(live, frames, known)[0])
    assert (fast.delay, fast.chunk, fast.waits) == (live.delay, live.chunk, live.waits)
    # another number of streams, by the same backend
    three = torch.rand(4, 3, 3, 8, 9)
    near(steps(fast, three)[0], steps(live, three)[0])
    assert not any(isinstance(m, nn.BatchNorm3d) for m in norms_that_ran(fast, frames[0]))


def norms_that_ran(live, frame):
    ran = []
    hooks = [m.register_forward_hook(lambda m, *_: ran.append(m)) for m in live.model.modules()]
    live.step(frame, live.init(len(frame)))
    for hook in hooks:
        hook.remove()
    return ran


@pytest.mark.slow
def test_openvino_steps_too():
    pytest.importorskip("openvino")
    live, frames = causal(), torch.rand(5, 2, 3, 8, 9)
    fast = optimize(live, frames[0], backends=["openvino"])
    assert fast.backend == "openvino", fast.report()
    near(steps(fast, frames)[0], steps(live, frames)[0])


@pytest.mark.slow
@pytest.mark.parametrize("make", [causal, delayed])
@pytest.mark.parametrize("way", ["onednn", "autocast"])
def test_half_precision_is_near_and_states_stay_single(make, way):
    live, frames = make(), torch.rand(8, 2, 3, 8, 9)
    fast = optimize(live, frames[0], precision="bfloat16", backends=[way])
    if fast.backend == "eager":
        pytest.skip(f"no bfloat16 here: {fast.report()}")
    assert (fast.backend, fast.precision) == (way, "bfloat16")
    (found, state), (expected, known) = steps(fast, frames), steps(live, frames)
    near(found, expected, 2e-2)
    assert not torch.equal(found.nan_to_num(), expected.nan_to_num())
    assert found.dtype == torch.float32
    assert {x.dtype for x in state.values()} == {x.dtype for x in known.values()}


@pytest.mark.slow
def test_int8_is_calibrated_on_steps_of_clips():
    pytest.importorskip("onnxruntime")
    live, frames = causal(), torch.rand(6, 2, 3, 8, 9)
    clips = [torch.rand(1, 3, 6, 8, 9) for _ in range(3)]
    fast = optimize(live, frames[0], precision="int8", calibration=clips, backends=["onnxruntime"])
    assert fast.backend == "onnxruntime", fast.report()
    row = next(row for row in fast.table if row.backend == "onnxruntime")
    assert 1e-4 < row.rms < 0.05
    assert row.same > 0.9
    near(steps(fast, frames)[0], steps(live, frames)[0], 0.1)


@pytest.fixture
def forgets():
    """A backend that keeps running means in half precision."""

    @register_backend("forgets", "bfloat16")
    def make(source):
        def run(*given):
            output, *state = source.model(*given)
            kept = [x.bfloat16().float() if x.is_floating_point() else x for x in state]
            return (output, *kept)

        return run

    yield
    del BACKENDS.parts["forgets"]


@pytest.mark.slow
@pytest.mark.usefixtures("forgets")
def test_a_mean_that_stands_still_late_in_a_video_is_refused():
    model = nn.Sequential(nn.Conv3d(3, 4, 3, padding=1), nn.AdaptiveAvgPool3d(1), nn.Flatten())
    live = lean3d.stream(model.eval(), wait=True, frame=(3, 8, 9))
    fast = optimize(live, torch.rand(1, 3, 8, 9), precision="bfloat16", backends=["forgets"])
    assert fast.backend == "eager"
    assert "does not change as it should late in a video" in fast.table[-1].note
    # without a mean it is near enough
    near_enough = optimize(
        causal(), torch.rand(1, 3, 8, 9), precision="bfloat16", backends=["forgets"]
    )
    assert near_enough.backend == "forgets"


@pytest.mark.parametrize("make", [causal, delayed])
def test_the_step_that_a_gpu_records_has_the_same_outputs(make):
    """On a CPU it runs without being recorded."""
    live = make()
    frames = torch.rand(9, 2, 3, 8, 9)
    keys = tuple(live.step(frames[0], live.init(2))[1])
    call = Captured(StepNetwork(live, keys, careful=False))
    fast = OptimizedStream(live, call, keys, "cuda_graph")
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
    moved = copy.deepcopy(fast).double()
    for own in (fast, copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        torch.testing.assert_close(steps(own, frames)[0], expected)
    assert moved.backend == "eager"
    near(steps(moved, frames.double())[0].float(), expected)


def test_weights_that_are_loaded_are_those_that_step():
    live, frames = causal(), torch.rand(4, 1, 3, 8, 9)
    fast = optimize(live, frames[0], backends=["fused"])
    assert fast.backend == "fused"
    fast.load_state_dict({key: value / 2 for key, value in live.state_dict().items()})
    assert fast.backend == "eager"
    # the stream shares its network
    near(steps(fast, frames)[0], steps(live, frames)[0])


@pytest.mark.parametrize("make", [causal, delayed])
@pytest.mark.parametrize("way", ["onednn", OTHER])
def test_a_stream_is_saved_and_loaded(make, way, tmp_path):
    if way == "onnxruntime":
        pytest.importorskip("onnxruntime")
    live, frames = make(), torch.rand(7, 2, 3, 8, 9)
    fast = optimize(live, frames[0], backends=[way])
    save_optimized(fast, tmp_path / "fast")
    again = load_optimized(tmp_path / "fast")
    assert (again.backend, again.report()) == (way, fast.report())
    (found, state), (expected, _) = steps(again, frames), steps(live, frames)
    near(found, expected)
    near(steps(live, frames, state)[0], steps(again, frames, state)[0])
    other = torch.rand(3, 1, 3, 12, 8)
    near(steps(again, other)[0], steps(live, other)[0])
    (tmp_path / "fast" / "stream.pt").write_bytes(b"no stream")
    with pytest.raises(LeanError, match=r"cannot read .*stream\.pt"):
        load_optimized(tmp_path / "fast")


@pytest.mark.slow
def test_the_choice_for_a_step_is_kept(tmp_path):
    live, path = causal(), tmp_path / "choices.json"
    given = dict(backends=["fused", "channels_last"], choices=path)
    first = optimize(live, torch.rand(1, 3, 8, 9), **given)
    again = optimize(live, torch.rand(1, 3, 8, 9), **given)
    assert again.backend == first.backend
    assert {row.backend for row in again.table} == {"eager", first.backend}
    assert all(row.ms != row.ms for row in again.table)


@pytest.mark.slow
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
        (dict(precision="int8"), r"int8 needs calibration=, a list of clips"),
        (dict(precision="int8", calibration=[]), "a list of one clip or more"),
        (
            dict(precision="int8", calibration=[torch.rand(1, 3, 8, 9)]),
            r"\[0\] of a stream is a clip",
        ),
        (dict(precision="int8", calibration=[torch.rand(1, 3, 4, 9, 9)]), "not like the example"),
        (dict(precision="int8", calibration=[torch.rand(1, 3, 0, 8, 9)]), "has 0 frames"),
        (dict(calibration=[torch.rand(1, 3, 4, 8, 9)]), "calibration= is for int8"),
        (dict(backends=["tensorrt"]), "no backend called 'tensorrt'"),
        (dict(example=torch.rand(1, 4, 8, 9)), "axis C is 4, not 3"),
    ],
)
def test_wrong_arguments_are_refused(given, says):
    with pytest.raises(LeanError, match=says):
        optimize(causal(), given.pop("example", torch.rand(1, 3, 8, 9)), **given)
