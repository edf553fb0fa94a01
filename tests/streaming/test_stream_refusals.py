"""What cannot stream, or does not fit, is refused in one sentence that names it."""

import pytest
import torch
from causal_nets import build, conv
from torch import nn

import lean3d
from lean3d.errors import LeanError, ShapeError

LOOK_AHEAD = {
    "conv": (nn.Conv3d(4, 4, 3, padding=1), r"1 \(Conv3d\) looks ahead"),
    "norm": (nn.GroupNorm(2, 4), r"1 \(GroupNorm\) looks ahead"),
    "pool": (nn.AdaptiveAvgPool3d(1), r"1 \(AdaptiveAvgPool3d\) looks ahead"),
    "max": (nn.MaxPool3d(3, 1, 1), r"1 \(MaxPool3d\) looks ahead"),
    "forgets": (nn.ConstantPad3d((0, 0, 0, 0, 1, -1), 0.0), r"differs is 1 \(ConstantPad3d\)"),
}


@pytest.mark.parametrize("kind", LOOK_AHEAD)
def test_a_layer_that_looks_ahead_or_forgets_is_named(kind):
    layer, said = LOOK_AHEAD[kind]
    model = nn.Sequential(conv(3, 4), layer, nn.ReLU(), conv(4, 2))
    with pytest.raises(LeanError, match=said):
        lean3d.stream(model.eval())


def test_a_conventional_network_that_halves_is_told_to_look_ahead():
    model = nn.Sequential(nn.Conv3d(3, 4, 3, padding=1), nn.MaxPool3d(2), nn.Conv3d(4, 2, 1))
    with pytest.raises(LeanError, match=r"0 \(Conv3d\) looks ahead.*wait=True\) or --wait"):
        lean3d.stream(model.eval())


def test_a_model_in_training_mode_is_refused():
    model = build("residual")
    model.norm.train()
    with pytest.raises(LeanError, match=r"model.eval\(\) first \(norm is in training mode\)"):
        lean3d.stream(model)


class Returns(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.stem, self.make = nn.Conv3d(3, 4, 1), make

    def forward(self, x):
        return self.make(self.stem(x))


@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.parametrize(
    ("make", "what"), [(lambda y: iter([y]), "list_iterator"), (lambda y: None, "no tensor")]
)
def test_outputs_that_hide_their_tensors_are_refused(make, what, wait):
    with pytest.raises(LeanError, match=f"Returns returns {what}; return tensors"):
        lean3d.stream(Returns(make).eval(), wait=wait, frame=(3, 8, 8))


def test_an_output_that_lost_the_axis_of_clips_is_refused():
    model = Returns(lambda y: y.mean((3, 4)).squeeze()).eval()
    with pytest.raises(LeanError, match=r"returns \(4, 16\) for one clip of 16 frames.*squeeze"):
        lean3d.stream(model, frame=(3, 8, 8))


def test_none_beside_the_output_of_a_causal_network_stays():
    live = lean3d.stream(Returns(lambda y: (y[:, :, -1], None)).eval(), frame=(3, 8, 8))
    output, _ = live.step(torch.randn(1, 3, 8, 8), live.init())
    assert (output[0].shape, output[1]) == ((1, 4, 8, 8), None)


def test_a_model_without_a_size_that_runs_is_refused():
    model = nn.Sequential(conv(3, 4), nn.Flatten(2), nn.Linear(7, 2)).eval()
    with pytest.raises(LeanError, match=r"pass frame=\(C, H, W\)"):
        lean3d.stream(model)


@pytest.fixture(scope="module")
def live():
    return lean3d.stream(build("residual"), frame=(3, 16, 16))


FRAME = torch.zeros(2, 3, 16, 16)
WRONG = {
    "another batch": (lambda f, s: (f[:1], s), "got 1 frames for 2 streams"),
    "another size": (lambda f, s: (f[..., :12], s), "frames of another size"),
    "another model": (lambda f, s: (f, {"t": s["t"], "x.past": s["t"]}), "of another model"),
    "no tensor": (lambda f, s: (f.numpy(), s), "frames as a torch.Tensor, got ndarray"),
    "no state": (lambda f, s: (f, None), "state init.. made, got NoneType"),
    "another precision": (lambda f, s: (f.double(), s), "computes in torch.float32"),
    "another state precision": (
        lambda f, s: (f, {**s, "stem.past": s["stem.past"].double()}),
        "state holds torch.float64",
    ),
    "other channels": (lambda f, s: (f[:, :2], s), "axis C is 2, not 3"),
    "other axes": (lambda f, s: (f[0], s), "takes .B, C, H, W., got"),
    "not a number": (lambda f, s: (f.index_fill(0, torch.tensor(1), torch.nan), s), "stream 1 "),
    "infinity": (lambda f, s: (f + torch.inf, s), "stream 0, 1 "),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_does_not_fit_is_one_clear_error_and_harms_no_stream(live, wrong):
    spoil, said = WRONG[wrong]
    clip = torch.randn(2, 3, 3, 16, 16)
    _, state = live.step(clip[:, :, 0], live.init(2))
    with pytest.raises(LeanError, match=said) as error:
        live.step(*spoil(FRAME, state))
    assert "\n" not in str(error.value)
    answer, _ = live.step(clip[:, :, 1], state)
    torch.testing.assert_close(answer, live.run(clip)[:, 1])


def test_a_chunk_of_another_length_is_refused():
    strided = lean3d.ops.CausalConv3d(3, 4, 3, stride=(2, 1, 1), padding=1).eval()
    live = lean3d.stream(strided)
    with pytest.raises(ShapeError, match="a multiple of 2 frames, got 1"):
        live.step(FRAME, live.init(2))


def test_states_of_two_models_do_not_stack(live):
    other = lean3d.stream(build("window"), frame=(3, 16, 16))
    states = [s.init(height=16, width=16) for s in (live, other)]
    with pytest.raises(ShapeError, match="one model and one frame size"):
        live.stack(states)
    sizes = [live.init(height=side, width=16) for side in (16, 24)]
    with pytest.raises(ShapeError, match="state 1 is of another"):
        live.stack(sizes)


@pytest.mark.parametrize("which", [[2], [-1], torch.tensor([True])])
def test_streams_that_are_not_there_do_not_reset(live, which):
    with pytest.raises(ShapeError, match="reset takes"):
        live.reset(live.init(2), which)


def test_no_streams_are_neither_begun_nor_joined(live):
    with pytest.raises(ShapeError, match="1 stream or more, got batch_size=0"):
        live.init(0)
    with pytest.raises(ShapeError, match="joins states, got none"):
        live.stack([])
