import pytest
import torch

from lean3d.errors import ShapeError
from lean3d.ops import CausalConv3d


def step_through(op, x_BCTHW):
    state, frames = None, []
    for x_BCHW in x_BCTHW.unbind(2):
        y_BCHW, state = op.step(x_BCHW, state)
        frames.append(y_BCHW)
    return torch.stack(frames, dim=2), state


@pytest.mark.parametrize("first", ["replicate", "zeros"])
@pytest.mark.parametrize(
    "arguments",
    [
        dict(kernel_size=3, padding=1),
        dict(kernel_size=(4, 3, 3), padding="same"),
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
    assert state.shape == (2, 4, op.dilation[0] * (op.kernel_size[0] - 1), 6, 5)


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


def test_states_of_two_streams_do_not_mix():
    op = CausalConv3d(2, 3, 3, padding=1)
    one, two = torch.randn(2, 1, 2, 4, 5, 5)
    states = [None, None]
    for t in range(4):
        outs = []
        for i, clip in enumerate((one, two)):
            y, states[i] = op.step(clip[:, :, t], states[i])
            outs.append(y)
        torch.testing.assert_close(outs[0], op(one)[:, :, t])
        torch.testing.assert_close(outs[1], op(two)[:, :, t])


@pytest.mark.parametrize("bad", [dict(padding=0), dict(padding=1, stride=2)], ids=str)
def test_refuses_to_step_where_frames_in_are_not_frames_out(bad):
    with pytest.raises(ValueError, match="steps with stride 1 and 2 padded frames"):
        CausalConv3d(2, 3, 3, **bad).step(torch.randn(1, 2, 5, 5))


def test_refuses_a_clip_where_a_frame_is_due():
    with pytest.raises(ShapeError, match="B, C=2, H, W"):
        CausalConv3d(2, 3, 3, padding=1).step(torch.randn(1, 2, 4, 5, 5))


def test_refuses_an_unknown_policy_for_the_first_frame():
    with pytest.raises(ValueError, match="'replicate' or 'zeros'"):
        CausalConv3d(2, 3, 3, first="reflect")
