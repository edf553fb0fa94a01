"""A network exported whole gives its outputs for any number and size, in onnxruntime and torch."""

import json

import pytest
import torch
import torch.nn.functional as F
from own_networks import Classes, Pixels
from torch import nn

from lean3d.conversion import ACS, convert
from lean3d.errors import LeanError, RunError, ShapeError
from lean3d.infer import export_network
from lean3d.models import create_model

pytest.importorskip("onnxruntime")


def outputs(path, x):
    if path.suffix == ".pt2":
        return torch.export.load(path).module()(x)
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"input": x.numpy()})[0])


@pytest.mark.parametrize("suffix", ["onnx", pytest.param("pt2", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "flat", [Pixels(1, 3), pytest.param(Classes(1, 3), marks=pytest.mark.slow)]
)
def test_a_converted_network_takes_any_number_and_size(tmp_path, flat, suffix):
    deep = convert(flat, ACS()).eval()
    found = export_network(deep, tmp_path / f"net.{suffix}", (1, 1, 8, 16, 16), notes={"a": "b"})
    assert set(found.free) == {0, 2, 3, 4}
    assert found.largest_difference < 1e-5
    for shape in ((1, 1, 8, 16, 16), (3, 1, 11, 20, 33)):
        x = torch.randn(shape)
        torch.testing.assert_close(outputs(found.path, x), deep(x), atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["onnx", "pt2"])
def test_a_unet_takes_any_number_and_size(tmp_path, suffix):
    model = create_model("unet3d", conv=None, widths=(4, 4, 4), skip="full").eval()
    found = export_network(model, tmp_path / f"net.{suffix}", (1, 1, 16, 16, 16))
    x = torch.randn(2, 1, 12, 20, 28)
    torch.testing.assert_close(outputs(found.path, x), model(x), atol=1e-5, rtol=1e-4)


def test_a_file_holds_weights_and_no_values_of_the_input_it_was_traced_on(tmp_path):
    model = nn.Conv3d(1, 2, 3, padding=1).eval()
    found = export_network(model, tmp_path / "net.pt2", (1, 1, 8, 8, 8))
    traced = torch.export.load(found.path).example_inputs[0][0]
    assert found.path.stat().st_size < traced.nbytes / 20
    x = torch.randn(3, 1, 5, 6, 7)
    torch.testing.assert_close(outputs(found.path, x), model(x), atol=1e-5, rtol=1e-4)


class Twice(nn.Module):
    """Draws noise in every call, so that no file can equal it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3)

    def forward(self, x):
        return F.dropout(self.conv(x), 0.5, training=True)


def test_a_file_that_differs_is_not_written(tmp_path):
    with pytest.raises(RunError, match="from the network's on inputs of 1 x 1 x 8 x 8"):
        export_network(Twice(), tmp_path / "net.pt2", (1, 1, 8, 8))
    assert not list(tmp_path.iterdir())


def test_an_input_that_the_network_does_not_take_is_refused_in_its_own_sizes(tmp_path):
    with pytest.raises(LeanError, match="Pixels cannot run on an input of 1 x 2 x 8 x 8: "):
        export_network(Pixels(3), tmp_path / "net.onnx", (1, 2, 8, 8))
    unet = create_model("unet3d", widths=(2, 2))
    with pytest.raises(ShapeError, match=r"got \(1, 2, 8, 8, 8\)"):
        export_network(unet, tmp_path / "net.onnx", (1, 2, 8, 8, 8))
    assert not list(tmp_path.iterdir())


def test_only_two_formats_are_written(tmp_path):
    with pytest.raises(LeanError, match=r"export writes \.pt2 and \.onnx, got net\.tflite"):
        export_network(Pixels(), tmp_path / "net.tflite", (1, 3, 8, 8))


def test_the_notes_are_in_the_file(tmp_path):
    import onnx

    notes = {"recipe.json": json.dumps({"classes": ["a", "b"]})}
    export_network(nn.Conv2d(1, 2, 3), tmp_path / "net.onnx", (1, 1, 8, 8), notes=notes)
    stored = onnx.load(tmp_path / "net.onnx").metadata_props
    assert notes.items() <= {prop.key: prop.value for prop in stored}.items()


def test_a_file_that_its_runtime_refuses_is_named(tmp_path, monkeypatch):
    def run(x):
        raise KeyError("no kernel for it")

    monkeypatch.setattr("lean3d.infer.export._runner", lambda path: run)
    with pytest.raises(RunError, match=r"Conv3d does not run on inputs of 1 x 1 x 8.*no kernel"):
        export_network(nn.Conv3d(1, 2, 3), tmp_path / "file.pt2", (1, 1, 8, 8, 8))
    assert not list(tmp_path.iterdir())


class Headless(nn.Module):
    """Attends without an axis of heads, which ONNX has no form of."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(4, 4)

    def forward(self, x):
        x = x.flatten(2).transpose(1, 2)
        return self.out(F.scaled_dot_product_attention(x, x, x))


def test_what_onnx_lacks_is_one_sentence(tmp_path):
    with pytest.raises(LeanError, match=r"Headless cannot be written as \.onnx: only 4D query"):
        export_network(Headless(), tmp_path / "file.onnx", (1, 4, 8, 8))
