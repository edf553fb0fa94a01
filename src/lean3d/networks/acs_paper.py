"""The 2D networks that the ACS paper converts to 3D, in its four forms.

Paper: Yang et al., Reinventing 2D Convolutions for 3D Images (ACS), arXiv:1911.10477, Sec 4.2
(LIDC), Sec 4.3 (LiTS), Appendix C
The encoders are torchvision's, so its weights go in; for LIDC they downsample less, as the paper's
released code does (stem of stride 1, no pool after it).

Axes: B batch, C channels, D depth, H height, W width.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.conversion import ACS, Inflate, Planar, convert
from lean3d.conversion.record import Grade
from lean3d.errors import RunError
from lean3d.networks.source import Asked, import_zoo, nearest, refuse_weights

__all__ = ["FORMS", "NETWORKS", "acs_network", "acs_source", "flat_network"]

Form = Literal["2.5d", "3d", "i3d", "acs"]
Parts = tuple[nn.Module, nn.Module, nn.Module]
# "3d" is the "i3d" form with re-initialised weights
FORMS: dict[str, Any] = {
    "2.5d": Planar(),
    "3d": Inflate(depth=None, pad="zeros"),
    "i3d": Inflate(depth=None, pad="zeros"),
    "acs": ACS(),
}


def resnet18(weights: object) -> Parts:
    """Features at 1, 1/2 and 1/4 of the size: 64, 128 and 512 channels."""
    net = _torchvision("resnet18", weights)
    net.conv1.stride = (1, 1)
    first = net.layer3[0]
    first.conv1.stride = first.downsample[0].stride = (1, 1)
    early = nn.Sequential(net.conv1, net.bn1, net.relu)
    return early, nn.Sequential(net.layer1, net.layer2), nn.Sequential(net.layer3, net.layer4)


def vgg16(weights: object) -> Parts:
    """VGG-16 with batch norm: 64, 256 and 512 channels at 1, 1/2 and 1/4 of the size."""
    layers = _torchvision("vgg16_bn", weights).features
    pools = [i for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    dropped = {pools[0], pools[2], pools[4]}
    first, middle = pools[0], pools[2]

    def part(start: int, stop: int) -> nn.Sequential:
        return nn.Sequential(*(layers[i] for i in range(start, stop) if i not in dropped))

    return part(0, first), part(first, middle), part(middle, len(layers))


def densenet121(weights: object) -> Parts:
    """64, 256 and 1024 channels at 1, 1/4 and 1/8 of the size."""
    layers = _torchvision("densenet121", weights).features
    layers.conv0.stride = (1, 1)
    early = nn.Sequential(layers.conv0, layers.norm0, layers.relu0)
    middle = nn.Sequential(*layers[4:8])
    return early, middle, nn.Sequential(*layers[8:11])


class FCN(nn.Module):
    """An encoder in three parts, and a decoder that twice joins finer features (Sec 4.2).

    Args:
        parts: The encoder; each part takes the output of the previous one.
        channels: Output channels of the parts.
        widths: Channels of the decoder's two 1x1 convolutions.

    Shape: (B, C, H, W) -> (B, K, H, W); converted, (B, C, D, H, W) -> (B, K, D, H, W).
    """

    def __init__(
        self,
        parts: Parts,
        channels: tuple[int, int, int],
        widths: tuple[int, int],
        num_classes: int,
    ):
        super().__init__()
        self.early, self.middle, self.late = parts
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
        early = self.early(x)
        middle = self.middle(early)
        y = _join(middle, self.late(middle), self.conv1)
        return self.classifier(_join(early, y, self.conv2))


def _join(fine: Tensor, coarse: Tensor, conv: nn.Module) -> Tensor:
    return conv(torch.cat([fine, F.interpolate(coarse, size=list(fine.shape[2:]))], dim=1))


def _torchvision(name: str, weights: object, **options: object) -> Any:
    return import_zoo("torchvision").models.get_model(name, weights=weights, **options)


def _fcn(encoder: Callable[[Any], Parts], channels: Any, widths: Any) -> Callable[..., nn.Module]:
    return lambda num_classes, weights: FCN(encoder(weights), channels, widths, num_classes)


def _classify(encoder: Callable[[Any], Parts], channels: int) -> Callable[..., nn.Module]:
    def build(num_classes: int, weights: object) -> nn.Module:
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes)]
        return nn.Sequential(*encoder(weights), *head)

    return build


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
    deep = convert(flat_network(name, **options), FORMS[form], accept=accept)
    if form == "3d":
        for module in deep.modules():
            if isinstance(module, nn.Conv3d):
                module.reset_parameters()
    return deep
