"""Files whose tensors are no weights are refused by the tensor's name, and change nothing."""

import zipfile

import pytest
import torch

import lean3d
from lean3d.checkpoints import load, load_checkpoint, open_checkpoint
from lean3d.checkpoints.wrappers import Unwrapped
from lean3d.cli.main import main
from lean3d.errors import DataError

NAME = "encoder.0.0.weight"


def unet():
    return lean3d.create_model("unet2d", widths=(4, 8))


def write(path, name, change):
    weights = {key: value.clone() for key, value in unet().state_dict().items()}
    weights[name] = change(weights[name])
    torch.save(weights, path)
    return path


def with_value(number):
    return lambda v: v.view(-1).index_fill(0, torch.tensor([0]), number).view(v.shape)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (with_value(float("nan")), "holds NaN in 1 of its 36 values"),
        (with_value(float("-inf")), "holds infinity in 1 of its 36 values"),
        (lambda v: with_value(float("nan"))(v).to(torch.float8_e5m2), "holds NaN"),
        (lambda v: v.to(torch.complex64), "is complex"),
        (lambda v: (100 * v).long(), "has values of type int64 where"),
        (lambda v: v > 0, "has values of type bool where"),
        (lambda v: v.to_sparse(), "is sparse"),
        (lambda v: v.view(4, 9).to_sparse_csr(), "is sparse"),
        (lambda v: v.to("meta"), "is on the meta device"),
    ],
)
@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_a_tensor_that_is_no_weight_is_named(tmp_path, change, sentence):
    path, model = write(tmp_path / "w.pt", NAME, change), unet()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(DataError, match=rf"w\.pt: {NAME} {sentence}"):
        load_checkpoint(model, path, format="lean3d")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_variance_below_0_is_named(tmp_path):
    path = write(tmp_path / "w.pt", "encoder.0.1.running_var", lambda v: v - 2)
    with pytest.raises(DataError, match=r"running_var holds -1, and a variance is 0 or more"):
        load_checkpoint(unet(), path, format="lean3d")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_and_counts_are_weights(tmp_path, dtype):
    path = write(tmp_path / "w.pt", NAME, lambda v: v.to(dtype))
    load_checkpoint(unet(), path, format="lean3d")
    path = write(tmp_path / "w.pt", "encoder.0.1.num_batches_tracked", lambda v: v.to(dtype))
    load_checkpoint(unet(), path, format="lean3d")


@pytest.mark.parametrize(
    "value", [[1], 5, None, {}, {"state_dict": None}, {"a": 1}, {"state_dict": {"a": 1}}, "text"]
)
def test_a_file_without_tensors_by_name_is_refused(tmp_path, value):
    torch.save(value, tmp_path / "w.pt")
    with pytest.raises(DataError, match="holds no tensors by name"):
        load_checkpoint(unet(), tmp_path / "w.pt")


def test_what_a_file_without_tensors_by_name_holds_is_said(tmp_path):
    torch.save({"epoch": 3, "history": [0.5, 0.7]}, tmp_path / "w.pt")
    with pytest.raises(DataError, match=r"by name, only 'epoch', 'history'; .* save it alone"):
        load_checkpoint(unet(), tmp_path / "w.pt")


def test_a_file_that_unpacks_to_more_than_it_is_is_refused(tmp_path):
    torch.save(unet().state_dict(), tmp_path / "w.pt")
    with zipfile.ZipFile(tmp_path / "w.pt") as old:
        parts = {entry.filename: old.read(entry) for entry in old.infolist()}
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in parts.items():
            new.writestr(name, content)
        new.writestr("w/data/99", bytes(1 << 24))
    assert (tmp_path / "bomb.pt").stat().st_size < 1 << 17
    with pytest.raises(DataError, match=r"compressed, 16\.\d MiB once unpacked, and torch\.save"):
        load_checkpoint(unet(), tmp_path / "bomb.pt")


def test_a_small_file_that_claims_a_huge_head_is_refused(tmp_path, capsys):
    zero = torch.zeros(())
    weights = lean3d.create_model("resnet3d_18").state_dict()
    weights = {key: zero.expand(value.shape) for key, value in weights.items()}
    weights |= {"fc.weight": zero.expand(10**10, 512), "fc.bias": zero.expand(10**10)}
    torch.save(weights, tmp_path / "w.pt")
    assert main(["load", str(tmp_path / "w.pt")]) == 2
    assert "num_classes is a whole number from 1 to" in capsys.readouterr().err


@pytest.mark.parametrize("shape", [(), (3,), (0,), (4, 0, 3, 3, 3)])
@pytest.mark.parametrize("name", ["d_resnet_18", "mc3_18", "r2plus1d_18"])
def test_shapes_of_no_network_are_refused_wherever_they_stand(tmp_path, monkeypatch, name, shape):
    weights = lean3d.create_model(name, widths=(2, 2, 4, 4)).state_dict()
    keys = [key for key in weights if key.startswith(("stem", "layer1.0", "layer2.0", "fc"))]
    said = {}
    for key in keys:
        odd = Unwrapped({**weights, key: torch.zeros(shape)}, ())
        monkeypatch.setattr(load, "read_tensors", lambda *_, odd=odd: odd)
        try:
            open_checkpoint(tmp_path / "w.pt")
        except DataError as error:
            said[key] = str(error)
    start = f"{tmp_path / 'w.pt'}: "
    assert all(text.startswith(f"{start}{key} has shape {shape}") for key, text in said.items())
    assert len(said) >= 2
