"""Ten thousand calls from eight threads: none is wrong."""

import pytest
import torch
from networks import build, smp_model, timm_model, torchvision_model
from threads_law import mistakes
from torchvision.models.feature_extraction import create_feature_extractor

import lean3d
from lean3d import ACS, Inflate, convert, fold

THREADS, TIMES = 8, 180  # of seven networks: 10,080 calls
EFFICIENTNET = timm_model("test_efficientnet", num_classes=4)
SHUFFLENET = torchvision_model("shufflenet_v2_x0_5", num_classes=4)


class Gray(torch.nn.Module):
    """The network's output as one tensor."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)["stage3"]


NETWORKS = {
    "U-Net": lambda: convert(lean3d.create_model("unet2d", in_channels=3, widths=(4, 8)), ACS()),
    "Unet of smp": lambda: convert(
        build(smp_model("Unet", decoder_channels=[8, 8, 8, 4, 4])), ACS(), accept="unchecked"
    ),
    "EfficientNet": lambda: convert(build(EFFICIENTNET), ACS()),
    "ConvNeXt": lambda: convert(build(timm_model("test_convnext")), ACS()),
    "GraphModule": lambda: Gray(
        convert(create_feature_extractor(build(SHUFFLENET), ["stage3"]), ACS())
    ),
    "Inflate": lambda: convert(build(EFFICIENTNET), Inflate()),
    "fold": lambda: fold(convert(build(EFFICIENTNET), ACS())),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_no_call_of_ten_thousand_is_wrong(name):
    network = NETWORKS[name]().eval()
    inputs = [torch.randn(1, 3, 32 + 32 * (i % 2), 32, 32) for i in range(THREADS)]
    assert mistakes([network] * THREADS, inputs, TIMES) == []


@pytest.mark.slow
def test_no_call_of_a_network_whose_kernels_are_mixed_is_wrong():
    network = convert(build(timm_model("efficientnet_cc_b0_4e", num_classes=4)), ACS())
    inputs = [torch.randn(1 + i % 2, 3, 32, 32, 32) for i in range(THREADS)]
    assert mistakes([network] * THREADS, inputs, times=4) == []
