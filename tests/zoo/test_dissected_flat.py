"""2D networks of the zoos made 3D, dissected and streamed, against their own pass over clips."""

import pytest
import torch
from networks import FOUR, timm_model, torchvision_model
from stream_law import assert_every_step_is_the_clip
from torch import nn

import lean3d
from lean3d import ACS, ConversionError, Dissect, Inflate, convert

# residual, depthwise, with squeeze-and-excitation, dense, channels last, shuffled
NETS = FOUR | {
    "mobilenet_v2": torchvision_model("mobilenet_v2"),
    "efficientnet_b0": torchvision_model("efficientnet_b0"),
    "densenet121": torchvision_model("densenet121"),
    "regnet_y_400mf": torchvision_model("regnet_y_400mf"),
    "convnext_tiny": torchvision_model("convnext_tiny"),
    "timm_densenet121": timm_model("densenet121"),
    "timm_efficientnet_b0": timm_model("efficientnet_b0"),
    "timm_resnet18d": timm_model("resnet18d"),
}
del NETS["tf_mobilenetv3"]


@torch.no_grad()
def trained(make):
    """Batch norms that know what goes through them; otherwise deep layers see next to nothing."""
    torch.manual_seed(0)
    model = make().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train().momentum = None
    model(torch.randn(4, 3, 64, 64))
    return model.eval()


def law(name, how, frames, side=64):
    deep = convert(trained(NETS[name]), how)
    causal, size = convert(deep, Dissect()).double(), (3, side, side)
    live = lean3d.stream(causal, frame=size)
    assert_every_step_is_the_clip(live, size, frames=frames, resets=0.15, dtype=torch.double)


def test_a_resnet_made_3d_is_dissected_and_streams():
    law("resnet18", Inflate(), frames=3, side=32)


@pytest.mark.slow
@pytest.mark.parametrize("how", [Inflate(), ACS()], ids=["inflate", "acs"])
@pytest.mark.parametrize("name", NETS)
def test_every_step_of_a_network_made_3d_and_dissected_gives_the_answer_of_the_clip(name, how):
    law(name, how, frames=12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (timm_model("eca_resnet33ts"), "first at 'stages.0.0.attn' .EcaModule., which mixes"),
        (timm_model("tf_mobilenetv3_small_100"), "'the model itself' .MobileNetV3., which mixes"),
        (timm_model("convnext_atto"), "'stages.0.blocks.0.conv_dw' cannot be converted"),
    ],
)
def test_a_forward_that_mixes_frames_by_itself_is_one_sentence(make, says):
    with pytest.raises(ConversionError, match=says):
        convert(convert(trained(make), Inflate()), Dissect())
