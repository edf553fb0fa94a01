"""The ACS paper's networks, against the counts of its Tables 4 and 7 and their own 2D answers."""

import pytest
import torch
from torch import nn

from lean3d.errors import RunError
from lean3d.networks.acs_paper import NETWORKS, acs_network, flat_network


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
    model = flat_network(name).eval()
    x, found = torch.randn(1, 3, 16, 16), []
    for part in (model.early, model.middle, model.late):
        x = part(x)
        found.append((x.shape[1], x.shape[2]))
    assert found == sizes


def test_a_3d_network_starts_afresh_and_an_inflated_one_with_the_2d_kernels():
    torch.manual_seed(0)
    flat = flat_network("resnet18")
    torch.manual_seed(0)
    inflated = acs_network("resnet18", "i3d", accept="unchecked")
    torch.manual_seed(0)
    fresh = acs_network("resnet18", "3d", accept="unchecked")
    kernel = flat[1][0][0].conv1.weight
    torch.testing.assert_close(inflated[1][0][0].conv1.weight.sum(dim=2), kernel)
    assert fresh[1][0][0].conv1.weight.shape == (64, 64, 3, 3, 3)
    assert not torch.allclose(fresh[1][0][0].conv1.weight.sum(dim=2), kernel)


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
