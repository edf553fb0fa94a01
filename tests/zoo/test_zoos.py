"""Networks of the zoos, converted, against their own 2D answers on volumes made of images."""

import pytest
import torch
from networks import assert_same_answer, build, smp_model, timm_model, torchvision_model
from zoo import timm

from lean3d.conversion import ACS, Planar, convert

# one of each kind of forward; by name the three that the older converter gets wrong in silence
FEW = {
    "seresnet50": timm_model("seresnet50"),
    "nf_resnet50": timm_model("nf_resnet50"),
    "tf_efficientnet_b0": timm_model("tf_efficientnet_b0"),
    "resnet18": torchvision_model("resnet18"),
    "shufflenet_v2_x0_5": torchvision_model("shufflenet_v2_x0_5"),
    "convnext_atto": timm_model("convnext_atto"),
    "unet": smp_model("Unet", decoder_channels=[32, 16, 8, 8, 8]),
}


@pytest.mark.parametrize("name", FEW)
def test_a_repeated_slice_gives_the_2d_answer(name):
    flat = build(FEW[name])
    deep = convert(flat, Planar())
    assert deep.conversion.grade == "isotropic"
    assert deep.state_dict().keys() == flat.state_dict().keys()
    assert_same_answer(flat, deep, axis=2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["seresnet50", "nf_resnet50", "tf_efficientnet_b0"])
def test_acs_of_what_others_get_wrong_in_silence_is_isotropic_and_trains(name):
    flat = build(FEW[name])
    deep = convert(flat, ACS())
    assert deep.conversion.grade == "isotropic"
    deep.load_state_dict(flat.state_dict())
    deep(torch.randn(2, 3, 33, 40, 48)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in deep.parameters())


def test_a_backbone_gives_its_pyramid():
    flat = timm.create_model("resnet18", features_only=True)
    deep = convert(flat, ACS())
    shapes = [tuple(y.shape[2:]) for y in deep(torch.randn(1, 3, 32, 64, 48))]
    assert shapes == [(16, 32, 24), (8, 16, 12), (4, 8, 6), (2, 4, 3), (1, 2, 2)]
