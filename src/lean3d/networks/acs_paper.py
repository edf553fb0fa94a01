"""The 2D networks that the ACS paper converts to 3D, in its four forms.

Paper: Yang et al., Reinventing 2D Convolutions for 3D Images (ACS), arXiv:1911.10477, Sec 4.2
(LIDC), Sec 4.3 (LiTS), Appendix C
The encoders are torchvision's, so its weights go in; for LIDC they downsample less, as the paper's
released code does (stem of stride 1, no pool after it).

Axes: B batch, C channels, D depth, H height, W width.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.conversion import ACS, Inflate, Planar, convert
from lean3d.conversion.record import Grade
from lean3d.errors import RunError
from lean3d.networks.source import Asked, import_zoo, nearest, refuse_weights

__all__ = ["FORMS", "NETWORKS", "acs_network", "acs_source", "flat_network"]

# called with the 2D weights
Encoder = Callable[[object], nn.Module]
Form = Literal["2.5d", "3d", "i3d", "acs"]
FORMS: dict[str, Any] = {
    "2.5d": Planar(),
    "3d": Inflate(depth=None, fill="fresh", pad="zeros"),
    "i3d": Inflate(depth=None, pad="zeros"),
    "acs": ACS(),
}


class ResNetFeatures(nn.Module):
    """A ResNet of torchvision up to its fourth stage, by the names it has there."""

    def __init__(self, net: Any):
        super().__init__()
        self.conv1, self.bn1, self.relu = net.conv1, net.bn1, net.relu
        self.layer1, self.layer2 = net.layer1, net.layer2
        self.layer3, self.layer4 = net.layer3, net.layer4

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        early = self.relu(self.bn1(self.conv1(x)))
        middle = self.layer2(self.layer1(early))
        return early, middle, self.layer4(self.layer3(middle))


class SequentialFeatures(nn.Module):
    """Layers of torchvision one after the other, by the names they have there.

    Args:
        ends: Names of those whose outputs are returned before that of the last one.
    """

    def __init__(self, layers: Iterable[tuple[str, nn.Module]], ends: tuple[str, str]):
        super().__init__()
        self.features, self.ends = nn.Sequential(OrderedDict(layers)), ends

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        found = []
        for name, layer in self.features.named_children():
            x = layer(x)
            if name in self.ends:
                found.append(x)
        return (*found, x)


def resnet18(weights: object) -> nn.Module:
    """Features at 1, 1/2 and 1/4 of the size: 64, 128 and 512 channels."""
    net = _torchvision("resnet18", weights)
    net.conv1.stride = (1, 1)
    first = net.layer3[0]
    first.conv1.stride = first.downsample[0].stride = (1, 1)
    return ResNetFeatures(net)


def vgg16(weights: object) -> nn.Module:
    """VGG-16 with batch norm: 64, 256 and 512 channels at 1, 1/2 and 1/4 of the size."""
    layers = list(_torchvision("vgg16_bn", weights).features.named_children())
    pools = [name for name, layer in layers if isinstance(layer, nn.MaxPool2d)]
    kept = [(name, layer) for name, layer in layers if name not in pools[::2]]
    # the last layers before the first and the third pool
    return SequentialFeatures(kept, (str(int(pools[0]) - 1), str(int(pools[2]) - 1)))


def densenet121(weights: object) -> nn.Module:
    """64, 256 and 1024 channels at 1, 1/4 and 1/8 of the size."""
    layers = _torchvision("densenet121", weights).features
    layers.conv0.stride = (1, 1)
    dropped = "pool0", "norm5"
    kept = [(name, layer) for name, layer in layers.named_children() if name not in dropped]
    return SequentialFeatures(kept, ("relu0", "transition2"))


class FCN(nn.Module):
    """An encoder, and a decoder that twice joins finer features (Sec 4.2).

    Args:
        encoder: Returns three maps, from fine to coarse.
        channels: Of those maps.
        widths: Channels of the decoder's two 1x1 convolutions.

    Shape: (B, C, H, W) -> (B, K, H, W); converted, (B, C, D, H, W) -> (B, K, D, H, W).
    """

    def __init__(
        self,
        encoder: nn.Module,
        channels: tuple[int, int, int],
        widths: tuple[int, int],
        num_classes: int,
    ):
        super().__init__()
        self.encoder = encoder
        fine, half, coarse = channels
        wide, narrow = widths
        self.conv1 = nn.Conv2d(half + coarse, wide, 1, bias=False)
        self.conv2 = nn.Conv2d(fine + wide, narrow, 1, bias=False)
        self.classifier = nn.Sequential(
            nn.Conv2d(narrow, narrow // 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(narrow // 4),
            nn.ReLU(),
            nn.Conv2d(narrow // 4, num_classes, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        early, middle, late = self.encoder(x)
        y = _join(middle, late, self.conv1)
        return self.classifier(_join(early, y, self.conv2))


class Classifier(nn.Module):
    """An encoder, the mean of its coarsest map, and a linear layer.

    Shape: (B, C, H, W) -> (B, K); converted, (B, C, D, H, W) -> (B, K).
    """

    def __init__(self, encoder: nn.Module, channels: int, num_classes: int):
        super().__init__()
        self.encoder = encoder
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.avgpool(self.encoder(x)[-1]).flatten(1))


def _join(fine: Tensor, coarse: Tensor, conv: nn.Module) -> Tensor:
    return conv(torch.cat([fine, F.interpolate(coarse, size=list(fine.shape[2:]))], dim=1))


def _torchvision(name: str, weights: object, **options: object) -> Any:
    return import_zoo("torchvision").models.get_model(name, weights=weights, **options)


def _fcn(encoder: Encoder, channels: Any, widths: Any) -> Callable[..., nn.Module]:
    return lambda num_classes, weights: FCN(encoder(weights), channels, widths, num_classes)


def _classify(encoder: Encoder, channels: int) -> Callable[..., nn.Module]:
    return lambda num_classes, weights: Classifier(encoder(weights), channels, num_classes)


def _deeplab(num_classes: int, weights: object) -> nn.Module:
    classes = {} if weights is not None else dict(num_classes=num_classes)
    net = _torchvision("deeplabv3_resnet101", weights, weights_backbone=None, **classes)
    # published weights have a second head for training, and classes of their own
    net.aux_classifier = None
    last = net.classifier[-1]
    if last.out_channels != num_classes:
        net.classifier[-1] = nn.Conv2d(last.in_channels, num_classes, 1)
    return net


# name in torchvision of the network whose weights it takes
ENCODERS = {
    "fcn_resnet18": "resnet18",
    "fcn_vgg16": "vgg16_bn",
    "vgg16": "vgg16_bn",
    "fcn_densenet121": "densenet121",
}

# called with the number of classes and the 2D weights
NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "fcn_resnet18": _fcn(resnet18, (64, 128, 512), (512, 512)),
    "fcn_vgg16": _fcn(vgg16, (64, 256, 512), (256, 64)),
    "fcn_densenet121": _fcn(densenet121, (64, 256, 1024), (256, 64)),
    "resnet18": _classify(resnet18, 512),
    "vgg16": _classify(vgg16, 512),
    "densenet121": _classify(densenet121, 1024),
    "deeplabv3_resnet101": _deeplab,
}


def flat_network(
    name: str, *, num_classes: int = 2, in_channels: int = 3, weights: object = None
) -> nn.Module:
    """A 2D network of the ACS paper.

    Args:
        name: "fcn_resnet18", "fcn_vgg16" and "fcn_densenet121" segment nodules, without "fcn_" they
            classify nodules (LIDC); "deeplabv3_resnet101" segments livers (LiTS).
        in_channels: If not 3, the first kernel is distributed over the channels so that equal
            channels give the output they gave as red, green and blue.
        weights: Torchvision's name of the weights of the encoder, or of the whole DeepLab, whose
            last layer is then re-initialised for other classes.

    Raises:
        RunError: there is no such network.
        MissingExtraError: torchvision is not installed.
    """
    if name not in NETWORKS:
        raise nearest("ACS network", name, NETWORKS)
    net = NETWORKS[name](num_classes, weights)
    if in_channels != 3:
        first = next(module for module in net.modules() if isinstance(module, nn.Conv2d))
        mean = first.weight.detach().mean(dim=1, keepdim=True)
        first.weight = nn.Parameter(mean.repeat(1, in_channels, 1, 1) * 3 / in_channels)
        first.in_channels = in_channels
    return net


def acs_source(asked: Asked) -> tuple[nn.Module, set[str]]:
    """Build the 2D network that `asked` names; of two classes unless it says otherwise."""
    encoder = ENCODERS.get(asked.name, asked.name)
    weights = "DEFAULT" if asked.weights is True else asked.weights
    if asked.name in NETWORKS and weights is not None:
        known = import_zoo("torchvision").models.get_model_weights(encoder)
        names = [one.name for one in known]
        if weights not in [*names, "DEFAULT"]:
            raise refuse_weights(asked, f"torchvision has {', '.join(names)}")
    if asked.options:
        raise RunError(f"{asked.reference} takes no options, got {', '.join(asked.options)}")
    ends = dict(num_classes=asked.num_classes or 2, in_channels=asked.in_channels or 3)
    return flat_network(asked.name, weights=weights, **ends), set(ends)


def acs_network(
    name: str, form: Form = "acs", *, accept: Grade | None = None, **options: Any
) -> nn.Module:
    """Return a network of the ACS paper for volumes, converted from its 2D one by `lean3d.convert`.

    Args:
        name: As `flat_network` takes it, whose `options` these are.
        form: "2.5d" (planar kernels), "3d" (3D kernels, re-initialised), "i3d" (2D kernels
            inflated), "acs".
        accept: As `convert` takes it: "unchecked" skips the self-check.

    Raises:
        RunError: no network or form is called so, or weights are asked for with form "3d".
    """
    if form not in FORMS:
        raise RunError(f"an ACS network has the form {', '.join(FORMS)}, got {form!r}")
    if form == "3d" and options.get("weights") is not None:
        raise RunError("a network of form '3d' starts afresh and takes no weights; see 'i3d'")
    return convert(flat_network(name, **options), FORMS[form], accept=accept)
