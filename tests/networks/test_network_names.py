"""One reference names a network of lean3d, of MONAI, or one's own; zoos: tests/zoo."""

import sys
from pathlib import Path

import own_networks
import pytest
import torch
from torch import nn

from lean3d.conversion import ACS, convert
from lean3d.errors import MissingExtraError, RunError
from lean3d.models import create_model
from lean3d.networks import Network, network
from lean3d.networks.own import located
from lean3d.networks.source import import_zoo

FILE = Path(own_networks.__file__)


def test_a_registered_name_takes_what_its_factory_takes():
    settings = dict(widths=(4, 6), options={"skip": "full"})
    torch.manual_seed(0)
    model = Network("unet3d", in_channels=2, num_classes=3, conv="acs", **settings).build().model
    torch.manual_seed(0)
    same = create_model("unet2d", in_channels=2, num_classes=3, widths=(4, 6), skip="full")
    assert all(torch.equal(x, same.state_dict()[n]) for n, x in model.state_dict().items())


@pytest.mark.parametrize("name", ["Pixels", "plain", "other_names", "pretrained"])
def test_a_function_in_a_file_is_called_with_what_it_takes_and_its_ends_fit(name):
    network = Network(f"{FILE}:{name}", in_channels=2, num_classes=7, convert="acs")
    model = network.build().model
    assert model.conversion.grade == "isotropic"
    assert model(torch.randn(1, 2, 5, 6, 7)).shape == (1, 7, 5, 6, 7)


def test_a_module_in_a_file_is_copied():
    model = Network(f"{FILE}:made").build().model
    again = Network(f"{FILE}:made").build().model
    assert model is not again
    assert model(torch.randn(1, 1, 4, 4)).shape == (1, 2, 4, 4)


def test_a_module_by_its_dotted_name():
    arguments = dict(in_channels=2, num_classes=7, options={"width": 3})
    model = Network("own_networks:Pixels", **arguments).build().model
    assert model.encoder[0].weight.shape == (3, 2, 3, 3)


def test_options_go_to_the_function():
    model = Network(f"{FILE}:Pixels", options={"width": 9, "in_channels": 1}).build().model
    assert model.encoder[0].weight.shape == (9, 1, 3, 3)


def test_weights_by_name_go_to_a_function_that_takes_them():
    network = Network(f"{FILE}:pretrained", num_classes=2, weights="pretrained")
    assert network.build().model.head.weight.eq(1).all()
    with pytest.raises(RunError, match="the function takes no weights; give a file"):
        Network(f"{FILE}:plain", weights="pretrained").build()


@pytest.mark.parametrize(("convert_to", "kernel"), [(None, nn.Conv3d), ("acs", nn.Module)])
def test_a_network_of_monai_is_3d_or_made_so(convert_to, kernel):
    pytest.importorskip("monai")
    small = dict(options={"channels": [4, 8], "strides": [2]})
    network = Network("monai:UNet", in_channels=1, num_classes=3, convert=convert_to, **small)
    model = network.build().model
    assert model(torch.randn(1, 1, 8, 8, 8)).shape == (1, 3, 8, 8, 8)
    kinds = {type(m).__name__ for m in model.modules()}
    assert ("ACSConv3d" in kinds) == (convert_to == "acs")
    assert ("Conv3d" in kinds) == (convert_to is None)


@pytest.mark.parametrize(
    ("reference", "more", "sentence"),
    [
        ("unet4d", {}, "did you mean unet3d"),
        ("resnet50", {}, "timm:, torchvision:, smp:, acs:, monai:, nnunet:"),
        ("tim:resnet18", {}, "no zoo called 'tim'; did you mean timm:resnet18?"),
        ("nnunet:", {}, "'nnunet:' names no network"),
        (":net", {}, "':net' names no network"),
        ("runs/none", {}, "there is no run folder runs/none"),
        ("acs:fcn_resnet", {}, "did you mean fcn_resnet18"),
        ("monai:UNett", {}, "no network of MONAI called 'UNett'; did you mean"),
        ("monai:UNet", {"options": {"channels": [4]}}, "needs strides"),
        (f"{FILE}:plan", {}, "did you mean plain"),
        (f"{FILE}:number", {}, "returned int and not an nn.Module"),
        (f"{FILE}:Pixels", {"options": {"widt": 3}}, "did you mean width"),
        (f"{FILE}:other_names", {}, "needs n_channels, classes; give it as an option"),
        ("/no/such.py:net", {}, "there is no file /no/such.py"),
        ("no.such.module:net", {}, "no module called 'no.such.module'; give its file"),
        ("os:system", {}, "os:system is not a function of yours"),
        ("subprocess:call", {"options": {"args": "touch x"}}, "is not a function of yours"),
        ("unet2d", {"weights": "pretrained"}, "its published weights are files"),
        ("unet2d", {"format": "vmz"}, "format vmz names the format of weights"),
        ("unet2d", {"keep_depth": 2}, "keep_depth is for a conversion from 2D; give convert"),
        ("unet3d", {"keep_depth": 2, "convert": "rank1"}, "which rank1 of unet3d is not"),
        ("monai:UNet", {"widths": (4, 8)}, "widths are arguments of lean3d's own models"),
        ("unet2d", {"convert": "asc"}, "did you mean acs"),
    ],
)
def test_what_cannot_be_named_is_refused_in_a_sentence(reference, more, sentence):
    with pytest.raises(RunError) as error:
        Network(reference, **more).build()
    assert sentence in str(error.value)
    assert len(str(error.value)) < 390


def test_a_file_that_fails_is_named_with_its_error(tmp_path):
    (tmp_path / "broken.py").write_text("import lean3d\n1 / 0\n")
    with pytest.raises(RunError, match=r"broken.py cannot be imported: ZeroDivisionError: div"):
        Network(f"{tmp_path}/broken.py:net").build()


def test_weights_that_cannot_be_downloaded_can_be_a_file(monkeypatch):
    def offline(asked):
        raise OSError("no such host" if asked.weights else "no memory")

    monkeypatch.setitem(network.SOURCES, "timm", offline)
    says = r"timm:resnet18 with weights pretrained: OSError: no such host; .* give their file as we"
    with pytest.raises(RunError, match=says):
        Network("timm:resnet18", weights="pretrained").build()
    with pytest.raises(RunError, match=r"cannot build timm:resnet18: OSError: no memory$"):
        Network("timm:resnet18").build()


def test_keep_depth_is_that_of_the_conversion():
    settings = dict(in_channels=1, num_classes=2, widths=(4, 6), convert="acs", keep_depth="all")
    model = Network("unet2d", **settings).build().model
    assert model.conversion.how == ACS(keep_depth=None)
    flat = create_model("unet2d", in_channels=1, num_classes=2, widths=(4, 6))
    shape = convert(flat, ACS(keep_depth=None))(torch.randn(1, 1, 3, 8, 8)).shape
    assert model(torch.randn(1, 1, 3, 8, 8)).shape == shape


def test_a_file_keeps_its_place():
    assert located("own.py:net") == f"{Path('own.py').resolve()}:net"
    assert located("timm:resnet18") == "timm:resnet18"


def test_a_torchvision_of_another_pytorch_is_one_sentence(tmp_path, monkeypatch):
    # what torchvision's wheel raises where its compiled operators do not load
    (tmp_path / "brokenvision.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    (tmp_path / "absentvision.py").write_text("import no_such_package")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError, match="was built for another PyTorch than") as error:
        import_zoo("brokenvision")
    assert torch.__version__ in str(error.value)
    assert "pip install" in str(error.value)
    with pytest.raises(MissingExtraError, match=r"lean3d\[zoo\]"):
        import_zoo("absentvision")
    assert "brokenvision" not in sys.modules
