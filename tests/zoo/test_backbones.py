"""Backbones that give maps: create_feature_extractor of torchvision, features_only of timm."""

import copy
import pickle
from functools import partial

import pytest
import torch
from torch import nn
from zoo import timm, torchvision

from lean3d.conversion import ACS, Inflate, Planar, convert

EXTRACTORS = {
    "resnet18": ["layer1", "layer4"],
    "shufflenet_v2_x0_5": ["stage2", "conv5"],
    "mobilenet_v3_small": ["features.3", "features.12"],
    "convnext_tiny": ["features.1", "features.3"],
}


def extractor(name):
    torch.manual_seed(0)
    flat = torchvision.models.get_model(name, weights=None)
    make = torchvision.models.feature_extraction.create_feature_extractor
    return make(flat, EXTRACTORS[name]).eval()


def warm(model):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


@pytest.mark.parametrize("name", EXTRACTORS)
def test_a_torchvision_feature_extractor_gives_its_maps_in_3d(name):
    flat = warm(extractor(name))
    deep, x = convert(flat, Planar()), torch.randn(1, 3, 64, 48)
    assert deep.conversion.grade == "isotropic"
    with torch.no_grad():
        expected, found = flat(x), deep(x.unsqueeze(2).repeat(1, 1, 32, 1, 1))
    for node, image in expected.items():
        volume = image.unsqueeze(2).expand_as(found[node])
        torch.testing.assert_close(found[node], volume, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "shufflenet_v2_x0_5"])
def test_copies_of_a_feature_extractor_answer_alike(name):
    deep, x = convert(warm(extractor(name)), ACS()), torch.randn(1, 3, 16, 64, 48)
    with torch.no_grad():
        expected = deep(x)
        for other in (copy.deepcopy(deep), pickle.loads(pickle.dumps(deep))):
            # torchvision copies into train mode
            torch.testing.assert_close(other.eval()(x), expected)


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "convnext_atto", "regnetx_002"])
def test_a_timm_pyramid_halves_depth_as_it_halves_height(name):
    flat = timm.create_model(name, features_only=True, out_indices=(1, 2))
    deep = convert(flat, ACS())
    assert deep.conversion.grade == "isotropic"
    shapes = [tuple(y.shape[2:]) for y in deep(torch.randn(1, 3, 32, 64, 48))]
    assert shapes in ([(8, 16, 12), (4, 8, 6)], [(4, 8, 6), (2, 4, 3)])


@pytest.mark.parametrize("how", [ACS(), Inflate()], ids=str)
def test_features_can_be_extracted_after_the_conversion(how):
    deep = convert(torchvision.models.resnet18().eval(), how).eval()
    extract = torchvision.models.feature_extraction.create_feature_extractor
    paths, expected = ["layer1.0.conv1", "layer3"], {}
    features = extract(deep, paths)
    for path in paths:
        keep = partial(expected.__setitem__, path)
        deep.get_submodule(path).register_forward_hook(lambda m, i, y, keep=keep: keep(y))
    x = torch.randn(1, 3, 32, 40, 48)
    with torch.no_grad():
        deep(x)
        found = features(x)
    assert list(found) == paths
    for path in paths:
        torch.testing.assert_close(found[path], expected[path])
