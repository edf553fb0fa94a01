"""Give a network that classifies images or volumes a decoder, so that it scores every pixel.

Paper: Yang et al., Reinventing 2D Convolutions for 3D Images (ACS), arXiv:1911.10477, Sec 4.2
Differs from the paper: joins the features of every resolution, not of three, so that it fits
any backbone, and scales the scores to the size of the image.

Axes: B batch, C channels, D depth, H height, W width, K classes.
"""

import copy
import math
import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.errors import RunError
from lean3d.networks.source import import_zoo
from lean3d.ops.base import Conv3dLike

__all__ = ["FCN", "Scores", "fcn"]

# two images, and volumes, whose sizes differ, to find the axes of height and width
IMAGES = (96, 160), (128, 224)
VOLUMES = (32, 96, 160), (48, 128, 224)
WIDEST, NARROWEST = 256, 64
TRACED: Any = {"tracer_kwargs": {"leaf_modules": [Conv3dLike]}}


class FCN(nn.Module):
    """An encoder, and a decoder of 1x1 kernels that joins its features from coarse to fine.

    Args:
        encoder: Returns a dictionary or a list of features, from fine to coarse.
        channels: Of those features.
        dims: 2 for images, 3 for volumes.

    Shape: (B, C, H, W) -> (B, K, H, W), or (B, C, D, H, W) -> (B, K, D, H, W)
    """

    def __init__(self, encoder: nn.Module, channels: list[int], num_classes: int, dims: int = 2):
        super().__init__()
        conv: Any = nn.Conv2d if dims == 2 else nn.Conv3d
        norm: Any = nn.BatchNorm2d if dims == 2 else nn.BatchNorm3d
        self.encoder, self.joins = encoder, nn.ModuleList()
        *finer, width = channels
        for level, fine in enumerate(reversed(finer)):
            out = max(WIDEST >> level, NARROWEST)
            self.joins.append(conv(fine + width, out, 1, bias=False))
            width = out
        self.classifier = nn.Sequential(
            conv(width, NARROWEST, 3, padding=1, bias=False),
            norm(NARROWEST),
            nn.ReLU(),
            conv(NARROWEST, num_classes, 1),
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
    """Return a classifier, torchvision's or lean3d's, as the encoder of an FCN, without its head.

    Raises:
        RunError: it has no features of several resolutions.
    """
    extraction = import_zoo("torchvision.models.feature_extraction")
    first = next((m for m in network.modules() if isinstance(m, nn.modules.conv._ConvNd)), None)
    dims = 2 if isinstance(first, nn.Conv2d) else 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = _features(network, extraction, dims, getattr(first, "in_channels", 3))
        except Exception:  # it cannot be traced, as transformers that check the size of an image
            found = {}
        if len(found) < 2:
            raise RunError(
                f"{type(network).__name__} has no features of several resolutions that can be "
                "traced; name a convolutional network, or one that segments"
            )
        names = {node: str(level) for level, node in enumerate(found)}
        encoder = extraction.create_feature_extractor(network, return_nodes=names, **TRACED)
    return FCN(encoder.train(), list(found.values()), num_classes, dims)


def _features(network: nn.Module, extraction: Any, dims: int, channels: int) -> dict[str, int]:
    """Return the last node of each resolution, from fine to coarse, and its channels."""
    light = copy.deepcopy(network).eval().to("meta")
    names = {n: n for n in extraction.get_graph_node_names(light, **TRACED)[1][1:]}
    nodes = extraction.create_feature_extractor(light, return_nodes=names, **TRACED)
    sizes = IMAGES if dims == 2 else VOLUMES
    small, large = (nodes(torch.empty(1, channels, *size, device="meta")) for size in sizes)
    found: dict[int, tuple[str, int]] = {}
    # within a block the two parts of a convolution may shrink space first, then depth
    pixels = math.prod(sizes[0][-2:]) + 1
    for name, x in small.items():
        if not isinstance(x, Tensor) or x.ndim != 2 + dims or x.shape[1] != large[name].shape[1]:
            continue
        if any(a >= b for a, b in zip(x.shape[2:], large[name].shape[2:], strict=True)):
            continue  # channels last, or an average of fixed size
        if math.prod(x.shape[-2:]) > pixels:
            break
        pixels = math.prod(x.shape[-2:])
        found[pixels] = name, x.shape[1]
    return dict(found.values())
