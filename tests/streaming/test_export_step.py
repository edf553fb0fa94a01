"""A step as a file answers as the model does."""

import onnxruntime
import pytest
import torch
from causal_nets import build
from waiting_nets import build as build_waiting

import lean3d
from lean3d.errors import DataError, LeanError
from lean3d.streaming.export import compare_export, export_step

STEPS = 32


def frames(live, side, streams=3):
    return torch.zeros(streams, live.found.frame[0], live.chunk, side, side)


EITHER = [pytest.param(".pt2", marks=pytest.mark.slow), ".onnx"]


@pytest.mark.parametrize("suffix", EITHER)
@pytest.mark.parametrize("name", ["residual", pytest.param("lstm", marks=pytest.mark.slow)])
def test_a_causal_step_as_a_file_answers_as_the_model(name, suffix, tmp_path):
    live = lean3d.stream(build(name), frame=(3, 16, 16))
    exported = export_step(live, tmp_path / f"step{suffix}", height=16, width=16)
    assert compare_export(live, exported, frames(live, 16), STEPS) < 1e-4
    assert compare_export(live, exported, frames(live, 16, streams=1), 2) < 1e-4


@pytest.mark.parametrize("suffix", EITHER)
def test_a_waiting_step_as_a_file_answers_as_the_model(suffix, tmp_path):
    live = lean3d.stream(build_waiting("pooled"), wait=True, frame=(3, 16, 16))
    exported = export_step(live, tmp_path / f"step{suffix}", height=16, width=16)
    assert compare_export(live, exported, frames(live, 16), STEPS) < 1e-4


class Grown(torch.nn.Module):
    """A transposed kernel, resizing between frames, copied borders, slices, a GRU over frames."""

    def __init__(self):
        super().__init__()
        conv = torch.nn.Conv3d
        self.stem = conv(3, 4, 3, padding=1, padding_mode="replicate")
        self.down = conv(4, 4, 3, (2, 1, 1), 1)
        self.up = torch.nn.ConvTranspose3d(4, 4, 3, (2, 1, 1), 1, (1, 0, 0))
        self.gru = torch.nn.GRU(4, 4, batch_first=True)

    def forward(self, x):
        x = self.stem(x)
        low = self.down(x)
        y = torch.stack([self.up(low), x, interpolate(low)]).sum(0)[:, :, 1:-1]
        B, C, T = y.shape[:3]
        features = y.view(B, C, T, -1).mean(-1).movedim(1, -1)
        return torch.cat([self.gru(features)[0][:, -1], y.flatten(2).amax(2)], 1)


def interpolate(x):
    return torch.nn.functional.interpolate(x, scale_factor=(2, 1, 1), mode="trilinear")


@pytest.mark.parametrize("suffix", EITHER)
def test_a_step_that_grows_and_recurs_as_a_file_answers_as_the_model(suffix, tmp_path):
    torch.manual_seed(0)
    live = lean3d.stream(Grown().eval(), wait=True, frame=(3, 8, 8))
    exported = export_step(live, tmp_path / f"step{suffix}", height=8, width=8)
    assert compare_export(live, exported, frames(live, 8), STEPS) < 1e-4
    assert compare_export(live, exported, frames(live, 8, streams=1), STEPS) < 1e-4


def test_the_graph_takes_and_gives_the_state_by_its_keys(tmp_path):
    live = lean3d.stream(build("window"), frame=(3, 16, 16))
    path = tmp_path / "step.onnx"
    exported = export_step(live, path, height=16, width=16)
    session = onnxruntime.InferenceSession(str(path))
    keys = ["t", "trunk.0.past", "trunk.2.past", "head.past"]
    assert list(exported.state) == keys
    assert [x.name for x in session.get_inputs()] == ["frames", *(f"state.{k}" for k in keys)]
    assert [x.name for x in session.get_outputs()] == ["output", *(f"next.{k}" for k in keys)]


def test_a_file_that_answers_otherwise_is_found_out(tmp_path):
    live = lean3d.stream(build("window"), frame=(3, 16, 16))
    exported = export_step(live, tmp_path / "step.pt2", height=16, width=16)
    with torch.no_grad():
        live.model.head.fc.bias += 1
    assert compare_export(live, exported, frames(live, 16), 2) > 0.9


def test_another_suffix_and_a_missing_folder_are_refused(tmp_path):
    live = lean3d.stream(build("window"), frame=(3, 16, 16))
    with pytest.raises(LeanError, match=r"writes .pt2 and .onnx, got step.tflite"):
        export_step(live, tmp_path / "step.tflite", height=16, width=16)
    with pytest.raises(DataError, match="cannot write"):
        export_step(live, tmp_path / "none" / "step.pt2", height=16, width=16)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
@pytest.mark.parametrize("head", ["fc", "lstm"])
def test_d_resnet_18_as_a_file_answers_as_the_model(head, suffix, tmp_path):
    live = lean3d.stream(lean3d.create_model("d_resnet_18", head=head).eval())
    exported = export_step(live, tmp_path / f"step{suffix}", height=112, width=112)
    assert compare_export(live, exported, frames(live, 112), STEPS) < 1e-4


@pytest.mark.parametrize(("live", "path"), [(object(), "a.pt2"), (None, 1)])
def test_what_is_no_stream_or_no_path_is_refused(live, path):
    with pytest.raises(LeanError, match="export_step takes"):
        export_step(live, path, height=8, width=8)
