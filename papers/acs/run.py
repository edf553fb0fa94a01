"""Every size of ACS that needs no training, beside ours: `python -m papers.acs`.

Paper: Yang et al., Reinventing 2D Convolutions for 3D Images, arXiv:1911.10477
A size is 10^6 bytes of float32 parameters: weights, biases and gains; no running statistics.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lean3d.models import create_model
from lean3d.networks.acs_paper import acs_network
from lean3d.ops import ACSConv3d, PlanarConv3d
from papers.rows import TWICE, Row, report
from papers.torchvision import torchvision

__all__ = ["deeplab", "fcn", "main", "megabytes", "proof_of_concept"]

FORMS = {"2.5d": "2.5D", "acs": "ACS", "3d": "3D"}
UNETS: dict[str, dict[str, Any]] = {
    "2.5d": {"conv": PlanarConv3d},
    "acs": {"conv": ACSConv3d},
    "3d": {},
}
SMALLER = "the network of the released code; that of the paper has {} parameters more"


def proof_of_concept() -> Iterator[Row]:
    """Table 3."""
    for (form, options), printed in zip(UNETS.items(), ("1.6", "1.6", "4.7"), strict=True):
        with torch.device("meta"):
            model = create_model("unet3d", **options)
        yield Row(f"UNet {FORMS[form]}, Table 3", "size", printed, megabytes(model), "MB")


def fcn() -> Iterator[Row]:
    """Table 4: ResNet-18 with a decoder, through `convert`."""
    more = dict.fromkeys(("2.5d", "acs"), "48,000 to 73,000") | {"3d": "16,000 to 41,000"}
    for form, printed in (("2.5d", "49.8"), ("acs", "49.8"), ("3d", "142.5")):
        with torch.device("meta"):
            model = acs_network("fcn_resnet18", form, accept="unchecked")
        note = SMALLER.format(more[form])
        yield Row(
            f"FCN Res-18 {FORMS[form]}, Table 4", "size", printed, megabytes(model), "MB", note
        )


def deeplab() -> Iterator[Row]:
    """Table 7: what of the ACS DeepLab is pretrained."""
    with torch.device("meta"):
        model = acs_network("deeplabv3_resnet101", "acs", num_classes=21, accept="unchecked")
    whole = megabytes(model) - megabytes(model.classifier[-1])
    encoder, note = megabytes(model.backbone), "DeepLabV3 without its last layer, not V3+"
    share = 100 * encoder / whole
    yield Row("ACS DeepLab encoder, Table 7", "size", "170.0", encoder, "MB")
    yield Row("ACS DeepLab, Table 7", "size", "234.5", whole, "MB", note)
    yield Row("ACS DeepLab encoder, Table 7", "share", "72.5", share, "%")
    rest = 100 - share
    yield Row("ACS DeepLab decoder, Sec 5.2", "share", "27.5", rest, "%", aside=TWICE)


def megabytes(model: nn.Module) -> float:
    """Float32 parameters."""
    return 4 * sum(p.numel() for p in model.parameters()) / 1e6


def main() -> None:
    torchvision()
    report([*proof_of_concept(), *fcn(), *deeplab()], Path(__file__).parent)
