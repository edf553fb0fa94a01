"""Networks of the zoos, converted, against their own 2D answers on volumes made of images."""

import pytest
import torch
from torch import nn
from zoo import smp, timm, torchvision

from lean3d.convert import ACS, Inflate, Planar, convert


def torchvision_model(name, **settings):
    return lambda: torchvision.models.get_model(name, weights=None, **settings)


def timm_model(name, **settings):
    return lambda: timm.create_model(name, **settings)


# one of each kind of forward; by name the three that the older converter gets wrong in silence
FEW = {
    "seresnet50": timm_model("seresnet50"),
    "nf_resnet50": timm_model("nf_resnet50"),
    "tf_efficientnet_b0": timm_model("tf_efficientnet_b0"),
    "resnet18": torchvision_model("resnet18"),
    "shufflenet_v2_x0_5": torchvision_model("shufflenet_v2_x0_5"),
    "convnext_atto": timm_model("convnext_atto"),
    "unet": lambda: smp.Unet("resnet18", encoder_weights=None, decoder_channels=[32, 16, 8, 8, 8]),
}
MANY = {
    "vgg16": torchvision_model("vgg16", num_classes=10),
    "densenet121": torchvision_model("densenet121"),
    "mobilenet_v3_large": torchvision_model("mobilenet_v3_large"),
    "convnext_tiny": torchvision_model("convnext_tiny"),
    "deeplabv3_resnet101": torchvision_model("deeplabv3_resnet101", weights_backbone=None),
}


def build(make):
    torch.manual_seed(0)
    model = make().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # as if it were trained
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


def first(output):
    return output["out"] if isinstance(output, dict) else output


def assert_same_answer(flat, deep, axis, size=(64, 96)):
    """The 3D network on a volume that repeats one image along `axis` gives the 2D answer."""
    image = torch.randn(1, 3, *size)
    volume = image.unsqueeze(axis).repeat_interleave(32, axis)
    with torch.no_grad():
        expected, found = first(flat(image)), first(deep(volume))
    if found.ndim == 5:
        middle = found.shape[axis] // 2  # away from the zeros beyond the border
        found = found.select(axis, middle)
    difference = (found - expected).abs().max() / expected.abs().max()
    assert difference < 1e-4


@pytest.mark.parametrize("name", FEW)
def test_a_repeated_slice_gives_the_2d_answer(name):
    flat = build(FEW[name])
    deep = convert(flat, Planar())
    assert deep.conversion.grade == "isotropic"
    assert deep.state_dict().keys() == flat.state_dict().keys()
    assert_same_answer(flat, deep, axis=2)


@pytest.mark.slow
@pytest.mark.parametrize("name", MANY)
@pytest.mark.parametrize("how", [Planar(), Inflate()], ids=str)
def test_a_repeated_slice_gives_the_2d_answer_in_large_networks(name, how):
    flat = build(MANY[name])
    assert_same_answer(flat, convert(flat, how), axis=2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["seresnet50", "nf_resnet50", "tf_efficientnet_b0"])
def test_acs_of_what_others_get_wrong_in_silence_is_isotropic_and_trains(name):
    flat = build(FEW[name])
    deep = convert(flat, ACS())
    assert deep.conversion.grade == "isotropic"
    deep.load_state_dict(flat.state_dict())
    deep(torch.randn(2, 3, 33, 40, 48)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in deep.parameters())


def test_odd_and_small_sizes():
    deep = convert(build(timm_model("tf_efficientnet_lite0")), ACS())
    for depth in (1, 2, 3, 5, 17):
        with torch.no_grad():
            assert deep(torch.randn(1, 3, depth, 65, 97)).shape == (1, 1000)


def test_a_backbone_gives_its_pyramid():
    flat = timm.create_model("resnet18", features_only=True)
    deep = convert(flat, ACS())
    shapes = [tuple(y.shape[2:]) for y in deep(torch.randn(1, 3, 32, 64, 48))]
    assert shapes == [(16, 32, 24), (8, 16, 12), (4, 8, 6), (2, 4, 3), (1, 2, 2)]
