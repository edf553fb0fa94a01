"""Give a network that classifies images a decoder, so that it scores every pixel.

Paper: Yang et al., Reinventing 2D Convolutions for 3D Images (ACS), arXiv:1911.10477, Sec 4.2
Differs from the paper: joins the features of every resolution, not of three, so that it fits
any backbone, and scales the scores to the size of the image.

Axes: B batch, C channels, H height, W width, K classes.
"""

import copy
import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.errors import RunError
from lean3d.networks.source import import_zoo

__all__ = ["FCN", "Scores", "fcn"]

# two images whose sizes differ, to find the axes of height and width
IMAGES = (96, 160), (128, 224)
WIDEST, NARROWEST = 256, 64


class FCN(nn.Module):
    """An encoder, and a decoder of 1x1 kernels that joins its features from coarse to fine.

    Args:
        encoder: Returns a dictionary or a list of features, from fine to coarse.
        channels: Of those features.

    Shape: (B, C, H, W) -> (B, K, H, W)
    """

    def __init__(self, encoder: nn.Module, channels: list[int], num_classes: int):
        super().__init__()
        self.encoder, self.joins = encoder, nn.ModuleList()
        *finer, width = channels
        for level, fine in enumerate(reversed(finer)):
            out = max(WIDEST >> level, NARROWEST)
            self.joins.append(nn.Conv2d(fine + width, out, 1, bias=False))
            width = out
        self.classifier = nn.Sequential(
            nn.Conv2d(width, NARROWEST, 3, padding=1, bias=False),
            nn.BatchNorm2d(NARROWEST),
            nn.ReLU(),
            nn.Conv2d(NARROWEST, num_classes, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        features = self.encoder(x)
        *finer, y = features.values() if isinstance(features, dict) else features
        for join, fine in zip(self.joins, finer[::-1], strict=True):
            y = join(torch.cat([fine, F.interpolate(y, size=list(fine.shape[2:]))], dim=1))
        return F.interpolate(self.classifier(y), size=list(x.shape[2:]))


class Scores(nn.Module):
    """A network of torchvision that segments, returning its scores instead of a dictionary."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)["out"]


def fcn(network: nn.Module, num_classes: int) -> FCN:
    """Return a torchvision classifier as the encoder of an FCN, without its head.

    Raises:
        RunError: it has no features of several resolutions.
    """
    extraction = import_zoo("torchvision.models.feature_extraction")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = _features(network, extraction)
        except Exception:  # it cannot be traced, as transformers that check the size of an image
            found = {}
        if len(found) < 2:
            raise RunError(
                f"{type(network).__name__} has no features of several resolutions that can be "
                "traced; name a convolutional network, or one that segments"
            )
        names = {node: str(level) for level, node in enumerate(found)}
        encoder = extraction.create_feature_extractor(network, return_nodes=names)
    return FCN(encoder.train(), list(found.values()), num_classes)


def _features(network: nn.Module, extraction: Any) -> dict[str, int]:
    """Return the last node of each resolution, from fine to coarse, and its channels."""
    light = copy.deepcopy(network).eval().to("meta")
    names = {node: node for node in extraction.get_graph_node_names(light)[1][1:]}
    nodes = extraction.create_feature_extractor(light, return_nodes=names)
    small, large = (nodes(torch.empty(1, 3, *size, device="meta")) for size in IMAGES)
    found: dict[int, tuple[str, int]] = {}
    height = IMAGES[0][0] + 1
    for name, x in small.items():
        if not isinstance(x, Tensor) or x.ndim != 4 or x.shape[1] != large[name].shape[1]:
            continue
        if any(a >= b for a, b in zip(x.shape[2:], large[name].shape[2:], strict=True)):
            continue  # channels last, or an average of fixed size
        if x.shape[2] > height:
            break
        height = x.shape[2]
        found[height] = name, x.shape[1]
    return dict(found.values())
