"""What stepping promises: the clip's answers, for any batch, any start, any reset, any pieces."""

import pytest
import torch
from causal_nets import NETS, build
from stream_law import assert_every_step_is_the_clip, single

import lean3d

every_net = pytest.mark.parametrize("name", NETS)


@every_net
def test_every_step_gives_the_answer_of_the_clip_whenever_a_stream_starts_or_resets(name):
    live = lean3d.stream(build(name), frame=(3, 16, 16))
    assert_every_step_is_the_clip(live, (3, 16, 16))


@every_net
def test_the_pass_over_a_clip_is_the_model_on_every_prefix(name):
    model = build(name)
    live = lean3d.stream(model, frame=(3, 16, 16))
    clip = torch.randn(2, 3, 9, 16, 16)
    with torch.no_grad():
        last = single(model(clip[:, :, :7]))
    last = last if last.ndim == 2 else last[:, :, -1]
    torch.testing.assert_close(single(live.run(clip))[:, 6], last)


@every_net
def test_a_clip_in_uneven_pieces_leaves_the_state_of_single_frames(name):
    live = lean3d.stream(build(name), frame=(3, 16, 16))
    clip = torch.randn(2, 3, 9, 16, 16)
    one, many = live.init(2), live.init(2)
    for frame in clip.unbind(2):
        _, one = live.step(frame, one)
    for piece in clip.split([4, 1, 3, 1], dim=2):
        _, many = live.step(piece, many)
    for key in one:
        torch.testing.assert_close(one[key], many[key])


@every_net
def test_streams_are_joined_and_parted_midway(name):
    live = lean3d.stream(build(name), frame=(3, 16, 16))
    clip = torch.randn(3, 3, 6, 16, 16)
    expected = single(live.run(clip))
    states = []
    for b in range(3):
        state = live.init()
        for t in range(3):
            _, state = live.step(clip[b : b + 1, :, t], state)
        states.append(state)
    answer, state = live.step(clip[:, :, 3], live.stack(states))
    torch.testing.assert_close(single(answer), expected[:, 3])
    alone = live.unbind(state)[1]
    torch.testing.assert_close(single(live.step(clip[1:2, :, 4], alone)[0]), expected[1:2, 4])


def test_a_blank_state_joins_streams_that_run():
    live = lean3d.stream(build("window"))
    clip = torch.randn(2, 3, 3, 16, 16)
    _, running = live.step(clip[:1, :, 0], live.init())
    answer, _ = live.step(clip[:, :, 1], live.stack([running, live.init()]))
    torch.testing.assert_close(answer[:1], live.run(clip[:1])[:, 1])
    torch.testing.assert_close(answer[1:], live.run(clip[1:, :, 1:])[:, 0])


@every_net
def test_a_saved_state_goes_on_elsewhere(name, tmp_path):
    clip = torch.randn(1, 3, 6, 16, 16)
    live = lean3d.stream(build(name), frame=(3, 16, 16))
    _, state = live.step(clip[:, :, :3], live.init())
    torch.save(state, tmp_path / "state.pt")
    elsewhere = lean3d.stream(build(name), frame=(3, 16, 16))
    answer, _ = elsewhere.step(clip[:, :, 3], torch.load(tmp_path / "state.pt", weights_only=True))
    torch.testing.assert_close(single(answer), single(live.run(clip))[:, 3])


def test_a_step_leaves_the_state_it_was_given_as_it_is():
    live = lean3d.stream(build("residual"))
    _, state = live.step(torch.randn(1, 3, 16, 16), live.init())
    before = {key: value.clone() for key, value in state.items()}
    frame = torch.randn(1, 3, 16, 16)
    once, _ = live.step(frame, state)
    again, _ = live.step(frame, state)
    assert torch.equal(once, again)
    assert all(torch.equal(before[key], state[key]) for key in before)


def test_the_model_answers_a_clip_as_before():
    model, clip = build("lstm"), torch.randn(1, 3, 5, 16, 16)
    before = model(clip)
    live = lean3d.stream(model)
    live.step(clip[:, :, 0], live.init())
    assert torch.equal(model(clip), before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_streams_give_the_clip_answer_of_their_precision(dtype):
    live = lean3d.stream(build("squeezed").to(dtype), frame=(3, 16, 16))
    clip = torch.randn(1, 3, 6, 16, 16).to(dtype)
    whole, state = live.run(clip), live.init(height=16, width=16)
    for t in range(6):
        answer, state = live.step(clip[:, :, t], state)
        torch.testing.assert_close(answer, whole[:, t], atol=5e-2, rtol=5e-2)
    assert state["stem.past"].dtype == dtype
    assert live.state_bytes(height=16, width=16).input_state == 2 * 3 * 2 * 16 * 16


@pytest.mark.parametrize("name", ["residual", "squeezed", "mean", "lstm"])
def test_a_model_in_double_precision_streams_in_it(name):
    live = lean3d.stream(build(name).double(), frame=(3, 16, 16))
    clip = torch.randn(1, 3, 6, 16, 16, dtype=torch.double)
    whole, state = live.run(clip), live.init()
    for t, frame in enumerate(clip.unbind(2)):
        answer, state = live.step(frame, state)
        torch.testing.assert_close(answer, whole[:, t], atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "frames"),
    [("residual", 8), ("dilated", 10), ("window", 9), ("last_frame", 3), ("lstm", float("inf"))],
)
def test_the_receptive_field_counts_the_frames_an_answer_depends_on(name, frames):
    assert lean3d.stream(build(name), frame=(3, 16, 16)).receptive_field == frames


HALVES = [
    lean3d.ops.CausalConv3d(4, 4, 3, stride=(2, 1, 1), padding=(0, 1, 1), past=1),
    torch.nn.MaxPool3d(2),
    torch.nn.AvgPool3d(2),
]


@pytest.mark.parametrize("half", HALVES, ids=lambda half: type(half).__name__)
def test_strides_in_time_step_in_chunks(half):
    model = torch.nn.Sequential(
        lean3d.ops.CausalConv3d(3, 4, 3, stride=(2, 1, 1), padding=1), half, torch.nn.ReLU()
    )
    live = lean3d.stream(model.eval())
    assert (live.chunk, live.delay) == (4, 0)
    clip = torch.randn(2, 3, 16, 8, 8)
    state, whole = live.init(2), live.run(clip)
    for number, chunk in enumerate(clip.split(4, dim=2)):
        answer, state = live.step(chunk, state)
        torch.testing.assert_close(answer.movedim(2, 1)[:, 0], whole[:, number])


def test_the_state_is_itemised():
    size = lean3d.stream(build("window")).state_bytes(3, height=16, width=20)
    frame, plane = 4 * 16 * 20, 4 * 4 * 16 * 20
    assert size.input_state == 3 * 3 * 2 * frame
    assert size.conv_state == 3 * plane
    assert size.head_state == 3 * 4 * 4 * 5
    assert size.cache == size.conv_state + size.head_state
    assert size.total == size.cache + size.input_state + 3 * 8
    assert "head.past" in str(size)
