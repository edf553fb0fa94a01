"""Every way of lifting, by value, for networks of different mechanisms."""

import pytest
from networks import build, smp_model, timm_model, torchvision_model

from lean3d.conversion import ACS, Inflate, MeanACS, Planar, SoftACS, convert

pytestmark = pytest.mark.slow

INFLATED = [Inflate(3, fill, pad) for fill in ("mean", "center") for pad in ("replicate", "zeros")]
HOWS = [ACS(), MeanACS(), SoftACS(), Planar(), Planar(axis=1), *INFLATED]
NETWORKS = {
    "modules": timm_model("resnet10t"),
    "padding made for a size": timm_model("tf_mobilenetv3_small_minimal_100"),
    "channels last": timm_model("convnext_atto"),
    "channel shuffle": torchvision_model("shufflenet_v2_x0_5"),
    "concatenated halves": timm_model("ghostnet_050"),
    "standardised weights": timm_model("nf_regnet_b0"),
    "kernels mixed for every sample": timm_model("tf_efficientnet_cc_b0_4e"),
    "splits of channels": timm_model("res2net50_14w_8s"),
    "a decoder": smp_model("Unet", decoder_channels=[32, 16, 8, 8, 8]),
    "space to depth, blur pools": timm_model("tresnet_m"),
}


@pytest.mark.parametrize("how", HOWS, ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_lifting_of_every_mechanism_is_proven_by_value(name, how):
    conversion = convert(build(NETWORKS[name]), how).conversion
    assert conversion.grade == "isotropic"
    assert {check.name[:3] for check in conversion.checks if check.error is not None} == {
        "(a)",
        "(c)",
    }
