"""Cycling planes for attention networks and convolutional ones of the zoos, by value."""

import pytest
import torch
from networks import build, timm_model, torchvision_model
from zoo import smp, torchvision

from lean3d import PlaneCycle, convert, unconvert

pytestmark = pytest.mark.slow

ORDER = ("HW", "DW", "DH", "HW")
# networks that are built for one size of windows or images, made for a small one
SMALL = {
    "maxvit_rmlp_pico_rw_256": timm_model("maxvit_rmlp_pico_rw_256", img_size=64),
    "torchvision swin_t": torchvision_model("swin_t"),
    "torchvision vit": lambda: torchvision.models.VisionTransformer(32, 8, 4, 2, 16, 32),
}
# a network, and a volume on the planes of which its blocks run
NETWORKS = {
    "vit_tiny_patch16_224": (32, 64, 48),
    "deit_tiny_distilled_patch16_224": (32, 64, 48),
    "vit_small_patch14_reg4_dinov2": (28, 56, 42),
    "vit_small_patch16_dinov3": (32, 64, 48),
    "eva02_tiny_patch14_224": (28, 56, 42),
    "swin_tiny_patch4_window7_224": (32, 64, 96),
    "maxvit_rmlp_pico_rw_256": (64, 64, 128),
    "caformer_s18": (32, 64, 96),
    "mobilenetv4_hybrid_medium": (32, 64, 96),
    "convnext_atto": (32, 64, 96),
    "resnet10t": (32, 64, 96),
    "test_vit": (32, 64, 48),
    "torchvision swin_t": (32, 64, 96),
    "torchvision vit": (32, 32, 32),
}


def relative(wanted, got):
    assert wanted.shape == got.shape
    return ((wanted - got).abs().max() / wanted.abs().max()).item()


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_slices_rotations_and_images(name):
    flat = build(SMALL.get(name) or timm_model(name))
    for p in flat.parameters():  # some heads begin with zeros
        if not p.any():
            torch.nn.init.normal_(p, std=0.02)
    x = torch.randn(1, 3, *NETWORKS[name])
    deep = convert(flat, PlaneCycle(), accept="unchecked")
    back = unconvert(deep)
    # (a) the first plane alone, each slice as in 2D; `deep` runs images of any size as the 2D one
    alone = convert(flat, PlaneCycle(order=("HW",), keep_depth=None), accept="unchecked")
    slices = torch.cat([deep(x[:, :, place]) for place in range(3)])
    assert relative(slices.mean(0, keepdim=True), alone(x[:, :, :3])) < 1e-4
    # (b) depth and width change places
    turned = tuple(plane.translate(str.maketrans("DW", "WD")) for plane in ORDER)
    other = convert(flat, PlaneCycle(order=turned), accept="unchecked")
    assert relative(deep(x), other(x.transpose(2, 4))) < 1e-4
    # (c) one slice is an image
    assert relative(deep(x[:, :, 0]), deep(x[:, :, :1])) < 1e-4
    assert [type(m) for m in back.modules()] == [type(m) for m in flat.modules()]
    assert back.state_dict().keys() == flat.state_dict().keys()


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_small_patch16_dinov3"])
@torch.no_grad()
def test_dense_features_of_timm(name):
    deep = convert(build(timm_model(name)), PlaneCycle(keep_depth=None), accept="unchecked")
    x = torch.randn(2, 3, 5, 64, 48)
    final, maps = deep.forward_intermediates(x, indices=2)
    prefix = deep.num_prefix_tokens
    assert final.shape[:2] == (2, prefix + 5 * 4 * 3)
    assert [y.shape[2:] for y in maps] == [(5, 4, 3)] * 2
    patches = deep.norm(maps[1].flatten(2).transpose(1, 2))
    assert relative(final[:, prefix:], patches) < 1e-4
    assert relative(deep.forward_head(deep.forward_features(x)), deep(x)) < 1e-4


@pytest.mark.parametrize(
    ("build_flat", "size"),
    [
        (lambda: smp.Unet("resnet18", encoder_weights=None, classes=3), (20, 64, 96)),
        (lambda: smp.PAN("resnet18", encoder_weights=None, classes=3), (96, 128, 160)),
        (lambda: smp.PSPNet("resnet18", encoder_weights=None, classes=3), (32, 64, 96)),
        (lambda: smp.UPerNet("resnet18", encoder_weights=None, classes=3), (32, 64, 96)),
        (lambda: smp.Segformer("mit_b0", encoder_weights=None, classes=3), (32, 64, 96)),
        (
            lambda: smp.DPT(
                "tu-vit_tiny_patch16_224", encoder_weights=None, classes=3, dynamic_img_size=True
            ),
            (32, 64, 96),
        ),
    ],
)
@torch.no_grad()
def test_segmentation_networks_return_to_the_size_of_the_volume(build_flat, size):
    torch.manual_seed(0)
    deep = convert(build_flat().eval(), PlaneCycle())
    assert deep.conversion.grade == "cycled"
    assert deep(torch.randn(1, 3, *size)).shape == (1, 3, *size)


def test_an_attention_network_learns_and_checkpoints():
    deep = convert(build(timm_model("test_vit")), PlaneCycle(), accept="unchecked").train()
    x, found = torch.randn(2, 3, 32, 64, 48), []
    for checkpointing in (False, True):
        deep.set_grad_checkpointing(checkpointing)
        deep.zero_grad()
        deep(x).square().sum().backward()
        found.append(torch.cat([p.grad.flatten() for p in deep.parameters()]))
    assert relative(*found) < 1e-4
