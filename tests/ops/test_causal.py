import pytest
import torch

from lean3d.errors import LeanError, ShapeError
from lean3d.ops import CausalConv3d
from lean3d.ops.causal_pools import CausalAvgPool3d, CausalMaxPool3d, Past, RunningMean
from lean3d.ops.memory import ChunkError, Memory, remember


def step_through(module, x, chunk=1):
    """Outputs and the last state of `module` stepped by hand."""
    state, outputs = {}, []
    names = {part: name for name, part in module.named_modules()}
    for piece in x.split(chunk, dim=2):
        with remember(Memory(state, names, piece, None)) as memory:
            outputs.append(module(piece))
        state = memory.new
    return torch.cat(outputs, dim=2), state


@pytest.mark.parametrize("first", ["replicate", "zeros"])
@pytest.mark.parametrize(
    "arguments",
    [
        dict(kernel_size=3, padding=1),
        dict(kernel_size=(4, 3, 3), padding="same"),
        dict(kernel_size=(2, 3, 3), padding=(0, 1, 1), stride=(1, 2, 2), past=1),
        dict(kernel_size=3, padding=(2, 1, 1), dilation=(2, 1, 1), stride=(1, 2, 2)),
        dict(kernel_size=(3, 1, 1), padding=(1, 0, 0), groups=2),
        dict(kernel_size=3, padding=1, padding_mode="reflect"),
        dict(kernel_size=(1, 3, 3), padding=(0, 1, 1)),
    ],
    ids=str,
)
def test_stepping_through_a_clip_gives_the_clip_answer(arguments, first):
    op = CausalConv3d(4, 6, **arguments, first=first)
    x_BCTHW = torch.randn(2, 4, 7, 6, 5)
    stepped, state = step_through(op, x_BCTHW)
    torch.testing.assert_close(stepped, op(x_BCTHW))
    frames = op.dilation[0] * (op.kernel_size[0] - 1)
    assert [tuple(kept.shape) for kept in state.values()] == [(2, 4, frames, 6, 5)] * (frames > 0)


@pytest.mark.parametrize("chunk", [1, 3, 7])
@pytest.mark.parametrize(
    "module",
    [
        CausalMaxPool3d(3, stride=1, padding=1),
        CausalMaxPool3d((2, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1), past=1),
        CausalAvgPool3d((3, 2, 2), stride=(1, 2, 2), past=2),
        CausalAvgPool3d(3, stride=1, padding=1, first="zeros"),
        Past(0),
        RunningMean(),
    ],
    ids=str,
)
def test_a_pool_stepped_in_pieces_gives_the_clip_answer(module, chunk):
    x_BCTHW = torch.randn(2, 4, 7, 6, 8)
    torch.testing.assert_close(step_through(module, x_BCTHW, chunk)[0], module(x_BCTHW))


def test_causal_pools_have_the_sizes_of_the_pools_of_torch():
    x = torch.randn(1, 2, 7, 9, 8)
    size = dict(kernel_size=3, stride=2, padding=1)
    assert CausalMaxPool3d(**size)(x).shape == torch.nn.MaxPool3d(**size)(x).shape
    assert CausalAvgPool3d(**size)(x).shape == torch.nn.AvgPool3d(**size)(x).shape


def test_a_causal_pool_takes_the_last_frames_and_copies_of_the_first_or_nothing():
    x_BCTHW = torch.tensor([-3.0, -1.0, -2.0]).view(1, 1, 3, 1, 1)
    window = dict(kernel_size=(2, 1, 1), stride=1, past=1)
    assert CausalMaxPool3d(**window)(x_BCTHW).flatten().tolist() == [-3, -1, -1]
    assert CausalAvgPool3d(**window)(x_BCTHW).flatten().tolist() == [-3, -2, -1.5]
    zeros = CausalAvgPool3d(**window, first="zeros")
    assert zeros(x_BCTHW).flatten().tolist() == [-1.5, -2, -1.5]


def test_the_running_mean_is_the_mean_of_all_frames_so_far():
    x_BCTHW = torch.randn(2, 3, 5, 4, 4)
    for t in range(5):
        expected = x_BCTHW[:, :, : t + 1].mean((2, 3, 4))
        torch.testing.assert_close(RunningMean()(x_BCTHW)[:, :, t].flatten(1), expected)


def test_past_puts_frames_in_front_for_any_operator():
    x_BCTHW = torch.randn(1, 2, 3, 4, 4)
    assert torch.equal(Past(2)(x_BCTHW), x_BCTHW[:, :, [0, 0, 0, 1, 2]])
    assert not Past(2, first="zeros")(x_BCTHW)[:, :, :2].any()


def test_strides_in_time_step_through_chunks():
    op = CausalConv3d(2, 3, 3, padding=1, stride=(2, 1, 1))
    x_BCTHW = torch.randn(1, 2, 8, 5, 5)
    torch.testing.assert_close(step_through(op, x_BCTHW, chunk=2)[0], op(x_BCTHW))
    with pytest.raises(ChunkError, match="multiples of 2 frames, got 1"):
        step_through(op, x_BCTHW, chunk=1)


def test_no_output_changes_when_the_future_does():
    op = CausalConv3d(2, 3, 3, padding=1)
    x = torch.randn(1, 2, 6, 5, 5)
    other = x.clone()
    other[:, :, 4:] += 1
    same = (op(x) == op(other)).all(dim=(0, 1, 3, 4))
    assert same.tolist() == [True] * 4 + [False] * 2


def test_the_first_frame_sees_copies_of_itself_or_zeros():
    frame = torch.randn(1, 2, 1, 5, 5)
    copies, zeros = (CausalConv3d(2, 3, 3, padding=1, first=f) for f in ("replicate", "zeros"))
    zeros.load_state_dict(copies.state_dict())
    still = frame.expand(-1, -1, 4, -1, -1)
    torch.testing.assert_close(copies(still)[:, :, 3], copies(still)[:, :, 0])
    assert not torch.allclose(zeros(still)[:, :, 3], zeros(still)[:, :, 0])
    torch.testing.assert_close(zeros(still)[:, :, 3], copies(still)[:, :, 3])


def test_refuses_to_step_where_frames_in_are_not_frames_out():
    with pytest.raises(ShapeError, match="needs 2 to 2 frames in front to be streamed, it has 0"):
        step_through(CausalConv3d(2, 3, 3), torch.randn(1, 2, 4, 5, 5))


def test_refuses_padding_in_time_beside_past():
    with pytest.raises(ValueError, match="in place of padding in time"):
        CausalConv3d(2, 3, 3, padding=1, past=2)


def test_refuses_a_past_without_room_for_it():
    conv, x = CausalConv3d(4, 2, 3, past=2**30), torch.zeros(1, 4, 2, 8, 8)
    with pytest.raises(LeanError, match=r"1,073,741,824 frames in front takes .*iB of memory"):
        conv(x)
    with pytest.raises(LeanError, match="past is a number 0 or more and at most"):
        CausalConv3d(4, 2, 3, past=10**30)


def test_refuses_an_unknown_policy_for_the_first_frame():
    with pytest.raises(ValueError, match="'replicate' or 'zeros'"):
        CausalConv3d(2, 3, 3, first="reflect")
