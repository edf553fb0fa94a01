"""A step refuses states, streams, modes and weights it cannot compute with, in one sentence."""

import copy
import gc
import math
import pickle

import causal_nets
import pytest
import torch
import waiting_nets
from torch import nn

import lean3d
from lean3d.errors import LeanError


def build(kind):
    if kind == "causal":
        return lean3d.stream(causal_nets.build("squeezed"), frame=(3, 16, 16))
    return lean3d.stream(waiting_nets.build("pooled"), wait=True, frame=(3, 16, 16))


@pytest.fixture(scope="module", params=["causal", "waiting"])
def live(request):
    return build(request.param)


@pytest.fixture
def frames(live):
    return torch.randn(2, 3, live.chunk, 16, 16)


@pytest.fixture
def state(live, frames):
    return live.step(frames, live.init(2))[1]


def refused(said, call, *args, **more):
    with pytest.raises(LeanError, match=said) as error:
        call(*args, **more)
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 400


def test_a_step_in_training_mode_is_refused_and_changes_nothing(live, frames):
    expected, _ = live.step(frames, live.init(2))
    before = copy.deepcopy(live.model.state_dict())
    try:
        for back in (live.model, live):
            back.train()
            refused("in training mode", live.step, frames, live.init(2))
            live.model.eval()
    finally:
        live.eval()
    assert all(torch.equal(before[key], x) for key, x in live.model.state_dict().items())
    torch.testing.assert_close(live.step(frames, live.init(2))[0], expected, equal_nan=True)


def test_any_nan_in_a_state_is_named_with_its_stream(live, frames, state):
    for key, x in state.items():
        if not x.is_floating_point():
            continue
        spoilt = {**state, key: x.clone()}
        spoilt[key][1].view(-1)[-1] = math.nan
        refused(f"{key!r} holds NaN in stream 1;", live.step, frames, spoilt)
    live.step(frames, state)


def test_a_state_that_is_spoilt_in_place_is_refused_too(live, frames, state):
    key = next(k for k, x in state.items() if x.is_floating_point())
    live.step(frames, state)
    state[key].fill_(math.nan)
    refused("holds NaN in stream 0, 1", live.step, frames, state)


def test_a_stream_that_is_reset_after_nan_goes_on(live, frames, state):
    key = next(k for k, x in state.items() if x.is_floating_point())
    state[key][1] = math.nan
    refused("reset those streams", live.step, frames, state)
    live.step(frames, live.reset(state, [1]))


def test_what_a_step_returned_is_not_looked_at_again(live, frames, state):
    kept = [x for x in state.values() if x.is_floating_point()]
    assert kept
    assert all(x in live._made for x in kept)
    assert not any(x.clone() in live._made for x in kept)
    kept[0].mul_(1)
    assert kept[0] not in live._made


def test_nothing_is_kept_of_states_that_are_gone(live, frames):
    state = live.init(2)
    for _ in range(20):
        _, state = live.step(frames, state)
    gc.collect()  # errors of the tests before hold states in their tracebacks
    kept = len(live._made._known)
    for _ in range(20):
        _, state = live.step(frames, state)
    assert len(live._made._known) == kept


def test_streams_copy_and_pickle(live, frames):
    expected, _ = live.step(frames, live.init(2))
    for other in (copy.deepcopy(live), pickle.loads(pickle.dumps(live))):
        answer, _ = other.step(frames, other.init(2))
        torch.testing.assert_close(answer, expected, equal_nan=True)


def test_the_garbage_before_a_video_is_no_nan_in_a_state():
    """A max over nothing, divided: what is computed of frames before the first."""

    class Divides(nn.Module):
        def forward(self, x):
            return x / (x * x)

    net = nn.Sequential(
        nn.Conv3d(3, 4, 3, padding=1), nn.MaxPool3d(3, 1, 1), nn.Conv3d(4, 4, 1), Divides()
    ).append(nn.Conv3d(4, 2, 3, padding=1))
    live = lean3d.stream(net.eval(), wait=True, frame=(3, 8, 8))
    state = live.init()
    for _ in range(8):
        _, state = live.step(torch.randn(1, 3, 8, 8), state)
        assert all(x.isfinite().all() for x in state.values())
        state = {key: x.clone() for key, x in state.items()}


WRONG_TIMES = {
    "negative": lambda t: t - 100,
    "float": lambda t: t.float(),
    "int32": lambda t: t.int(),
    "of another shape": lambda t: t[:, None],
    "of fewer streams": lambda t: t[:1],
    "of no streams": lambda t: t[:0],
    "no tensor": lambda t: t.tolist(),
    "missing": lambda t: None,
}


@pytest.mark.parametrize("wrong", WRONG_TIMES)
def test_times_that_no_stream_can_have_are_refused(live, frames, state, wrong):
    spoilt = {**state, "t": WRONG_TIMES[wrong](state["t"])}
    refused("state|got 2 frames for 1 streams", live.step, frames, spoilt)
    if wrong == "missing":
        del spoilt["t"]
        for call in (live.reset, live.unbind):
            refused("whose 't' is an int64 tensor", call, spoilt)
        refused("stack takes the state init", live.stack, [spoilt])


def test_a_state_with_the_time_of_another_is_refused(live, frames, state):
    later = live.step(frames, state)[1]
    refused("'t' and .* are of two different steps", live.step, frames, {**later, "t": state["t"]})
    live.step(frames, state)  # a state may be stepped again
    live.step(frames, later)
    clock = {key: later[key] for key in live.way.clock}
    refused("it lacks", live.step, frames, clock)


def test_a_time_between_two_steps_is_refused():
    live = build("waiting")
    state = live.step(torch.randn(1, 3, live.chunk, 16, 16), live.init())[1]
    state["t"] = state["t"] + 1
    refused("multiple of 2 in stream 0", live.step, torch.randn(1, 3, live.chunk, 16, 16), state)


@pytest.mark.parametrize(
    "which",
    [
        [1.9],
        [True],
        [True, 1],
        [-1],
        [2],
        [[0]],
        ["0"],
        "0",
        1.0,
        [None],
        [0, math.nan],
        torch.tensor([0.0]),
        torch.tensor([[True, False]]),
        [2**70],
    ],
    ids=repr,
)
def test_what_names_no_stream_resets_none(live, state, which):
    refused("reset takes", live.reset, state, which)
    if live.waits:
        refused("end takes", live.end, state, which)


@pytest.mark.parametrize("which", [[1], (1,), 1, [False, True], torch.tensor([1]), [1, 1]])
def test_what_names_a_stream_resets_it(live, state, which):
    assert live.reset(state, which)["t"].tolist() == [live.chunk, 0]
    assert live.reset(state, [])["t"].tolist() == [live.chunk] * 2


@pytest.mark.parametrize("count", [-3, 0, 1.5, True, "2", None, math.nan])
def test_counts_that_are_none_are_refused(live, count):
    refused("1 stream or more", live.init, count)
    refused("1 stream or more", live.state_bytes, count, height=16, width=16)
    if count is not None:
        refused("1 or more", live.state_bytes, height=count, width=16)
        refused("1 or more", live.init, height=16, width=16, channels=count)


@pytest.mark.parametrize("after", [-1, 1.5, True, 2**70, None])
def test_frames_to_come_are_a_count(after):
    live = build("waiting")
    refused("0 or more, got after=", live.end, live.init(), after=after)


@pytest.mark.parametrize("way", ["reset", "end", "unbind", "stack", "step"])
@pytest.mark.parametrize("key", ["t", "end", "last"])
def test_a_state_without_values_is_refused_by_whatever_takes_it(way, key):
    live = build("waiting")
    frames = torch.randn(2, 3, live.chunk, 16, 16)
    state = live.step(frames, live.init(2))[1]
    key = list(state)[-1] if key == "last" else key
    calls = {"stack": lambda: live.stack([state]), "step": lambda: live.step(frames, state)}
    call = calls.get(way, lambda: getattr(live, way)(state))
    state[key] = state[key].to("meta")
    refused("takes a state (with values|on one device)", call)


def test_only_a_state_that_can_end_ends():
    live = build("waiting")
    state = live.init(2)
    refused("'end' is an int64 tensor", live.end, {"t": state["t"]})
    refused("'end' is an int64 tensor", live.end, {**state, "end": state["end"].double()})


def test_frames_without_room_for_a_copy_are_refused_before_one_is_made(live, state):
    # a view of one frame
    many = torch.zeros(1, 3, live.chunk, 16, 16).expand(2**34, -1, -1, -1, -1)
    said = r"a copy of frames of \d+ x 3 x .* takes .*iB of memory and .* are free; give fewer"
    refused(said, live.step, many, state)
    refused(said, live.run, many)


@pytest.mark.parametrize("size", [{}, dict(height=16, width=16)])
def test_a_state_without_room_for_it_is_refused(live, size):
    said = r"the state of 70,368,744,177,664 streams takes .*iB of memory and .* are free"
    refused(said, live.init, 2**46, **size)


def test_memory_that_runs_out_in_a_layer_is_one_sentence(live, frames, monkeypatch):
    def greedy(*args):
        return torch.empty(2**50)

    state = live.init(2)
    monkeypatch.setattr(type(live.way), "step", lambda *args, **more: greedy())
    refused(r"out of memory: 4\.0 PiB asked for", live.step, frames, state)
    monkeypatch.setattr(type(live.way), "run", greedy)
    refused(r"out of memory: 4\.0 PiB asked for", live.run, frames)


def test_states_stack_only_as_a_list_of_states(live, state):
    refused("joins states, got one state, not a list", live.stack, state)
    refused("takes the state", live.stack, [1])
    half = {k: x.half() if x.is_floating_point() else x for k, x in state.items()}
    refused("state 1 is of another", live.stack, [state, half])


@pytest.mark.parametrize("frame", [(3, 16), (3, -1, 16), "abc", (3, 16.0, 16), 7, (3, 5, 16, 16)])
def test_a_frame_size_is_three_counts(frame):
    refused("frame=", lean3d.stream, causal_nets.build("residual"), frame=frame)


def test_a_frame_size_the_model_does_not_take_is_one_sentence():
    refused("axis C is 5", lean3d.stream, causal_nets.build("residual"), frame=(5, 16, 16))
    refused("cannot run on a clip", lean3d.stream, nn.Conv3d(3, 4, 3).eval(), frame=(5, 8, 8))
    refused("a torch.nn.Module, got str", lean3d.stream, "d_resnet_18")


def spoil(name, value):
    model = waiting_nets.build("residual")
    with torch.no_grad():
        dict([*model.named_parameters(), *model.named_buffers()])[name].view(-1)[1] = value
    return model


@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("inner.weight", math.nan, "inner.weight holds NaN in 1 of its 432 values"),
        ("inner.bias", math.inf, "inner.bias holds infinity in 1 of its 4"),
        ("norm.running_mean", math.nan, "norm.running_mean holds NaN in 1 of its 4"),
        ("norm.running_var", -0.5, "norm.running_var holds a negative variance in 1 of its 4"),
    ],
)
def test_weights_that_are_no_numbers_are_named(name, value, said, wait):
    refused(f"weights are wrong: {said}", lean3d.stream, spoil(name, value), wait=wait)


def test_complex_and_absent_weights_are_named():
    model = causal_nets.build("zeros")
    refused("0.bias is on the meta device", lean3d.stream, copy.deepcopy(model).to("meta"))
    model[0].weight = nn.Parameter(model[0].weight.to(torch.complex64))
    refused("0.weight is of type complex64", lean3d.stream, model)


def test_infinite_buffers_may_be_masks():
    model = causal_nets.build("zeros")
    model.register_buffer("mask", torch.tensor([0.0, -math.inf]))
    lean3d.stream(model, frame=(3, 16, 16))


@pytest.mark.parametrize("frames_seen", [2**31 + 16, 2**40])
def test_a_stream_that_has_run_for_centuries_goes_on(live, frames_seen):
    clip = torch.randn(2, 3, 8 * live.chunk, 16, 16)
    state = late = live.init(2)
    for number, frames in enumerate(clip.split(live.chunk, dim=2)):
        _, state = live.step(frames, state)
        if number == 5:  # its past is full, its means are those of a long time
            late = dict(state)
            counts = [k for k, x in late.items() if x.dtype == torch.int64 and k != "end"]
            late |= {k: late[k] + frames_seen for k in counts}
            mean = next(k for k in late if k.endswith("mean"))
            held = late[mean].clone()
        elif number > 5:
            again, late = live.step(frames, late)
            assert again.isfinite().all()
    # one more frame no longer moves the mean of so many
    torch.testing.assert_close(late[mean], held, atol=1e-6, rtol=0)
    assert late["t"].tolist() == [8 * live.chunk + frames_seen] * 2


def test_maps_of_more_frames_than_the_video_count_them_next_to_a_stream_that_ended():
    net = nn.Sequential(nn.Conv3d(3, 4, 3, padding=1), nn.Upsample(scale_factor=4)).eval()
    live = lean3d.stream(net, wait=True, frame=(3, 8, 8))
    state, frame = live.init(2), torch.randn(2, 3, 8, 8)
    for _ in range(4):
        _, state = live.step(frame, state)
    answer, _ = live.step(frame, live.end(state, [0]))
    assert answer.isfinite().all()


def test_a_state_that_was_saved_with_a_later_never_has_not_ended():
    live = build("waiting")
    frames = torch.randn(1, 3, live.chunk, 16, 16)
    state = live.step(frames, live.init())[1]
    expected, _ = live.step(frames, state)
    answer, _ = live.step(frames, {**state, "end": torch.tensor([2**62])})
    torch.testing.assert_close(answer, expected, equal_nan=True)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")
def test_of_a_compiled_network_the_network_is_streamed():
    model = causal_nets.build("squeezed")
    live = lean3d.stream(torch.compile(model), frame=(3, 16, 16))
    assert live.model is model
