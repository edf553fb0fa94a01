"""A file of weights fills a network of a reference: whole, its encoder, before or after 3D."""

from pathlib import Path

import own_networks
import pytest
import torch
from own_networks import Classes, Pixels

from lean3d.conversion import ACS, Inflate, SoftACS, convert
from lean3d.errors import DataError, RunError
from lean3d.models import create_model
from lean3d.networks import Network

FILE = Path(own_networks.__file__)
NAME = f"{FILE}:Pixels"


def saved(model, path, **wrapped):
    torch.save(
        {**wrapped, "state_dict": model.state_dict()} if wrapped else model.state_dict(), path
    )
    return str(path)


def equal(model, other, names=None):
    other = other.state_dict()
    return all(
        torch.equal(x, other[n]) for n, x in model.state_dict().items() if not names or n in names
    )


@pytest.fixture
def flat():
    return Pixels(3, 5)


@pytest.mark.parametrize("convert_to", [None, "acs", "planar", "mean_acs"])
def test_a_2d_checkpoint_fills_the_network_before_its_conversion(flat, tmp_path, convert_to):
    path = saved(flat, tmp_path / "flat.pt", epoch=3)
    built = Network(NAME, num_classes=5, convert=convert_to, weights=path).build()
    assert equal(built.model, flat)
    assert built.fresh == ()
    assert "6 tensors" in built.note


def test_a_2d_checkpoint_is_inflated(flat, tmp_path):
    path = saved(flat, tmp_path / "flat.pt")
    model = Network(NAME, num_classes=5, convert="inflate", weights=path).build().model
    assert equal(model, convert(flat, Inflate()))


@pytest.mark.parametrize(("convert_to", "how"), [("inflate", Inflate()), ("soft_acs", SoftACS())])
def test_a_checkpoint_of_the_3d_network_fills_it_after_its_conversion(tmp_path, convert_to, how):
    deep = convert(Pixels(3, 5), how)
    path = saved(deep, tmp_path / "deep.pt")
    built = Network(NAME, num_classes=5, convert=convert_to, weights=path).build()
    assert equal(built.model, deep)


def test_a_head_for_other_classes_starts_afresh_whole(flat, tmp_path):
    path = saved(flat, tmp_path / "flat.pt")
    built = Network(NAME, num_classes=2, convert="acs", weights=path).build()
    assert sorted(built.fresh) == ["head.bias", "head.weight"]
    body = {n for n in flat.state_dict() if not n.startswith("head")}
    assert equal(built.model, flat, body)


def test_the_encoder_alone(flat, tmp_path):
    path = saved(flat, tmp_path / "flat.pt")
    built = Network(NAME, num_classes=5, weights=path, weights_part="encoder").build()
    assert {n.partition(".")[0] for n in built.fresh} == {"decoder", "head"}
    assert equal(built.model, flat, {"encoder.0.weight", "encoder.0.bias"})
    assert not equal(built.model, flat)


def test_the_encoder_of_a_classifier_is_all_but_its_last_layer(tmp_path):
    flat = Classes(3, 5)
    path = saved(flat, tmp_path / "flat.pt")
    encoder = dict(weights=path, weights_part="encoder")
    built = Network(f"{FILE}:Classes", num_classes=5, **encoder).build()
    assert sorted(built.fresh) == ["fc.bias", "fc.weight"]


def test_a_first_kernel_is_distributed_over_other_channels(flat, tmp_path):
    path = saved(flat, tmp_path / "flat.pt")
    gray = Network(NAME, in_channels=1, num_classes=5, weights=path).build().model
    x = torch.randn(1, 1, 6, 6)
    torch.testing.assert_close(gray(x), flat(x.expand(1, 3, 6, 6)))
    more = Network(NAME, in_channels=6, num_classes=5, weights=path).build().model
    torch.testing.assert_close(more(x.expand(1, 6, 6, 6)), flat(x.expand(1, 3, 6, 6)))


def test_weights_of_a_backbone_fill_the_encoder_of_a_larger_network(flat, tmp_path):
    path = saved(flat.encoder, tmp_path / "backbone.pt")
    built = Network(NAME, num_classes=5, weights=path).build()
    assert equal(built.model, flat, {"encoder.0.weight", "encoder.0.bias"})
    assert any(name.startswith("decoder") for name in built.fresh)
    with pytest.raises(RunError, match="leave weights_part out"):
        Network(NAME, num_classes=5, weights=path, weights_part="all").build()


def test_a_wrapped_network_fills_the_one_inside(flat, tmp_path):
    path = tmp_path / "wrapped.ckpt"
    torch.save({f"net.inner.{n}": x for n, x in flat.state_dict().items()}, path)
    assert equal(Network(NAME, num_classes=5, weights=str(path)).build().model, flat)


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (Pixels(3, 5, width=6), r"encoder.0.weight has shape \(6, 3, 3, 3\) in the file"),
        (Classes(3, 5, width=6), "encoder.0.weight has shape"),
        (torch.nn.Sequential(torch.nn.BatchNorm2d(4)), r"has shape \(4,\) in the file"),
        (torch.nn.Linear(2, 2), "does not fit"),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path, other, sentence):
    path = saved(other, tmp_path / "other.pt")
    with pytest.raises(RunError, match=sentence) as error:
        Network(NAME, num_classes=5, weights=path).build()
    assert "give weights of the same network" in str(error.value)


def test_a_missing_or_damaged_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"there is no file .*no\.pth"):
        Network(NAME, weights=str(tmp_path / "no.pth")).build()
    (tmp_path / "bad.pth").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"cannot read .*bad\.pth"):
        Network(NAME, weights=str(tmp_path / "bad.pth")).build()


def test_values_that_are_no_numbers_are_refused(flat, tmp_path):
    with torch.no_grad():
        flat.head.bias[0] = torch.nan
    with pytest.raises(DataError, match=r"head\.bias holds NaN"):
        Network(NAME, num_classes=5, weights=saved(flat, tmp_path / "nan.pt")).build()


def test_a_published_format_fills_a_registered_network(tmp_path):
    deep = create_model("resnet3d_18", widths=(4, 4, 4, 4), num_classes=7)
    path = saved(deep, tmp_path / "r3d.pt")
    small = dict(widths=(4, 4, 4, 4), weights=path, format="lean3d")
    assert equal(Network("resnet3d_18", num_classes=7, **small).build().model, deep)
    built = Network("resnet3d_18", num_classes=2, **small).build()
    assert sorted(built.fresh) == ["fc.bias", "fc.weight"]


def test_2d_weights_of_lean3d_go_into_its_3d_network_of_acs_kernels(tmp_path):
    flat = create_model("unet2d", widths=(4, 6), num_classes=3)
    path = saved(flat, tmp_path / "flat.pt")
    settings = dict(in_channels=1, num_classes=3, widths=(4, 6), weights=path)
    assert equal(Network("unet3d", conv="acs", **settings).build().model, flat)
    assert equal(Network("unet2d", convert="acs", **settings).build().model, convert(flat, ACS()))
