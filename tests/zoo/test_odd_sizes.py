"""Odd and thin volumes, one at a time: each slice keeps its 2D answer, and ACS runs."""

import pytest
import torch
from networks import assert_same_answer, build, first, timm_model, torchvision_model

from lean3d.conversion import ACS, Planar, convert
from lean3d.errors import ShapeError

SIZE = (65, 97)
DEPTHS = (1, 2, 3, 5, 17)
FEW = {
    "tf_efficientnet_lite0": timm_model("tf_efficientnet_lite0"),
    "resnet18": torchvision_model("resnet18"),
}
MANY = {
    "lraspp_mobilenet_v3_large": torchvision_model(
        "lraspp_mobilenet_v3_large", weights_backbone=None
    ),
    "shufflenet_v2_x0_5": torchvision_model("shufflenet_v2_x0_5"),
    "resnetblur18": timm_model("resnetblur18"),
    "skresnet18": timm_model("skresnet18"),
    "densenet121": torchvision_model("densenet121"),
    "googlenet": torchvision_model("googlenet", init_weights=False),
}


def hold_at_every_depth(make, keep_depth=0):
    flat = build(make)
    planar, acs = (convert(flat, how(keep_depth=keep_depth)) for how in (Planar, ACS))
    for depth in DEPTHS:
        assert_same_answer(flat, planar, axis=2, size=SIZE, length=depth)
        with torch.no_grad():
            expected = first(planar(torch.zeros(1, 3, depth, *SIZE)))
            found = first(acs(torch.randn(1, 3, depth, *SIZE)))
        assert found.shape == expected.shape
        assert found.isfinite().all()


@pytest.mark.parametrize("name", FEW)
def test_odd_and_thin_volumes(name):
    hold_at_every_depth(FEW[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", MANY)
def test_odd_and_thin_volumes_in_many_networks(name):
    hold_at_every_depth(MANY[name])


def test_a_network_of_patches_takes_thin_volumes_where_depth_is_kept():
    hold_at_every_depth(timm_model("convnext_atto"), keep_depth=None)


def test_a_volume_thinner_than_a_patch_is_refused():
    deep = convert(timm_model("convnext_atto")(), ACS(), accept="unchecked")
    with pytest.raises(ShapeError, match=r"needs 4 voxels along axis 2.*keep_depth"):
        deep(torch.randn(1, 3, 2, *SIZE))
