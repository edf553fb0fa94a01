"""Six torchvision networks, converted, against their own 2D answers and against acsconv."""

from collections import Counter

import pytest
import torch
from networks import assert_same_answer, build, torchvision_model

from lean3d.conversion import ACS, Inflate, Planar, convert
from lean3d.ops import ACSConv3d

pytestmark = pytest.mark.slow

SIX = {
    "resnet18": torchvision_model("resnet18"),
    "vgg16": torchvision_model("vgg16", num_classes=10),
    "densenet121": torchvision_model("densenet121"),
    "mobilenet_v3_large": torchvision_model("mobilenet_v3_large"),
    "convnext_tiny": torchvision_model("convnext_tiny"),
    "deeplabv3_resnet101": torchvision_model("deeplabv3_resnet101", weights_backbone=None),
}


@pytest.mark.parametrize("name", SIX)
@pytest.mark.parametrize("how", [Planar(), Inflate(), Inflate(fill="center")], ids=str)
def test_a_repeated_slice_gives_the_2d_answer(name, how):
    flat = build(SIX[name])
    assert_same_answer(flat, convert(flat, how), axis=2)


@pytest.mark.parametrize("name", SIX.keys() - {"vgg16"})  # its head has a fixed image size
def test_an_image_in_the_depth_width_plane_gives_the_2d_answer(name):
    flat = build(SIX[name])
    deep = convert(flat, Planar(axis=1), accept="isotropic")
    assert_same_answer(flat, deep, axis=3)


def peers_answer(peer, conv, x):
    sizes = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups)
    other = peer(conv.in_channels, conv.out_channels, *sizes, bias=conv.bias is not None)
    other.load_state_dict(conv.state_dict())
    return other(x)


# of the operators with odd kernels: how many acsconv runs, and at how many it stops
PEER_RUNS = {
    "resnet18": (17, 0),
    "vgg16": (13, 0),
    "densenet121": (59, 0),
    "mobilenet_v3_large": (12, 4),  # depthwise, with a stride
    "convnext_tiny": (18, 0),
    "deeplabv3_resnet101": (38, 0),
}


@pytest.mark.parametrize("name", SIX)
def test_acs_is_what_acsconv_computes_operator_by_operator(name):
    peer = pytest.importorskip("acsconv.operators").ACSConv
    deep = convert(build(SIX[name]), ACS(), accept="unchecked")
    counts = Counter()

    def compare(conv, inputs, output):
        if conv.kernel_size[0] % 2 == 0:
            return  # acsconv lays even kernels elsewhere
        try:
            expected = peers_answer(peer, conv, *inputs)
        except RuntimeError:
            counts["stops"] += 1
        else:
            assert (output - expected).abs().max() < 1e-4 * expected.abs().max()
            counts["runs"] += 1

    for module in deep.modules():
        if isinstance(module, ACSConv3d):
            module.register_forward_hook(compare)
    with torch.no_grad():
        deep(torch.randn(1, 3, 32, 33, 49))
    assert (counts["runs"], counts["stops"]) == PEER_RUNS[name]
