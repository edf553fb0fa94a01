"""The ACS paper's networks, against the counts of its Tables 4 and 7 and their own 2D answers."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from zoo import torchvision

from lean3d.errors import RunError
from lean3d.networks import Network
from lean3d.networks.acs_paper import NETWORKS, acs_network, flat_network

sys.path.append(str(Path(__file__).parents[1] / "checkpoints"))
from peers import HaraResNet


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("form", "published"), [("2.5d", 12_389_442), ("acs", 12_389_442), ("3d", 35_596_482)]
)
def test_fcn_resnet18_has_the_parameters_of_the_released_network(form, published):
    assert parameters(acs_network("fcn_resnet18", form, accept="unchecked")) == published


def test_deeplab_has_the_parameters_of_table_7():
    model = flat_network("deeplabv3_resnet101", num_classes=21)
    last = parameters(model.classifier[-1])
    assert parameters(model) - last == 58_625_600
    assert parameters(model.backbone) == 42_500_160


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("fcn_resnet18", [(64, 16), (128, 8), (512, 4)]),
        ("fcn_vgg16", [(64, 16), (256, 8), (512, 4)]),
        ("fcn_densenet121", [(64, 16), (256, 4), (1024, 2)]),
    ],
)
def test_an_encoder_keeps_the_resolution_the_paper_says(name, sizes):
    features = flat_network(name).eval().encoder(torch.randn(1, 3, 16, 16))
    assert [(x.shape[1], x.shape[2]) for x in features] == sizes


def test_a_3d_network_starts_afresh_and_an_inflated_one_with_the_2d_kernels():
    torch.manual_seed(0)
    flat = flat_network("resnet18")
    torch.manual_seed(0)
    inflated = acs_network("resnet18", "i3d", accept="unchecked")
    torch.manual_seed(0)
    fresh = acs_network("resnet18", "3d", accept="unchecked")
    kernel = flat.encoder.layer1[0].conv1.weight
    torch.testing.assert_close(inflated.encoder.layer1[0].conv1.weight.sum(dim=2), kernel)
    assert fresh.encoder.layer1[0].conv1.weight.shape == (64, 64, 3, 3, 3)
    assert not torch.allclose(fresh.encoder.layer1[0].conv1.weight.sum(dim=2), kernel)


def test_one_grey_channel_gives_what_three_equal_ones_give():
    torch.manual_seed(0)
    colour = flat_network("fcn_resnet18").eval()
    torch.manual_seed(0)
    grey = flat_network("fcn_resnet18", in_channels=1).eval()
    x = torch.randn(1, 1, 16, 16)
    torch.testing.assert_close(grey(x), colour(x.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4)


def test_weights_and_a_fresh_start_exclude_each_other():
    with pytest.raises(RunError, match="takes no weights; see 'i3d'"):
        acs_network("fcn_resnet18", "3d", weights="DEFAULT")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "deeplabv3_resnet101"])
def test_every_lidc_network_is_isotropic_and_takes_any_size(name):
    model = acs_network(name, num_classes=3).eval()
    assert model.conversion.grade == "isotropic"
    with torch.no_grad():
        y = model(torch.randn(1, 3, 9, 17, 14))
    assert y.shape == ((1, 3, 9, 17, 14) if name.startswith("fcn") else (1, 3))
    assert not any(isinstance(m, nn.Conv2d) for m in model.modules())


@pytest.mark.slow
def test_deeplab_scores_every_voxel():
    model = acs_network("deeplabv3_resnet101", num_classes=3, accept="unchecked").eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, 9, 33, 35))["out"].shape == (1, 3, 9, 33, 35)


WHOLE = dict(segment=True, in_channels=1, num_classes=2)


@pytest.mark.parametrize(
    ("name", "zoo_name"),
    [
        pytest.param("fcn_vgg16", "vgg16_bn", marks=pytest.mark.slow),
        ("densenet121", "densenet121"),
    ],
)
def test_a_2d_file_of_torchvision_fills_the_encoder(name, zoo_name, tmp_path):
    flat = torchvision.models.get_model(zoo_name)
    torch.save(flat.state_dict(), tmp_path / "flat.pth")
    built = Network(f"acs:{name}", weights=str(tmp_path / "flat.pth"), **WHOLE).build()
    assert not any(name.startswith("encoder.") for name in built.fresh)
    own = built.model.state_dict()
    given = {f"encoder.{n}": x for n, x in flat.state_dict().items() if x.ndim == 4}
    alike = {n for n in given.keys() & own.keys() if own[n].shape == given[n].shape}
    assert len(alike) > 10
    assert all(torch.equal(own[n], given[n]) for n in alike)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"), [("fcn_resnet18", (1, 2, 9, 17, 14)), ("resnet18", (1, 2))]
)
@pytest.mark.parametrize(("channels", "medical"), [(1, True), (3, False)])
def test_files_of_med3d_and_of_video_fill_the_3d_network(name, size, channels, medical, tmp_path):
    shared = dict(shortcut="A", num_classes=0, widths=(64, 128, 256, 512))
    theirs = HaraResNet(channels, medical=medical, **shared)
    path = tmp_path / "theirs.pth"
    torch.save({"state_dict": {f"module.{n}": x for n, x in theirs.state_dict().items()}}, path)
    built = Network(f"acs:{name}", convert="conv3d", weights=str(path), **WHOLE).build()
    body = {n for n in built.fresh if n.startswith("encoder.")}
    assert all(".downsample." in name for name in body)
    stem = theirs.conv1.weight.sum(1, keepdim=True)
    torch.testing.assert_close(built.model.encoder.conv1.weight, stem)
    assert built.model(torch.randn(1, 1, 9, 17, 14)).shape == size
