"""Networks of torchvision: classification, segmentation and video."""

from typing import Any

from torch import nn

from lean3d.networks.decoder import fcn
from lean3d.networks.source import Asked, import_zoo, nearest, refuse_weights

__all__ = ["torchvision_network"]


def torchvision_network(asked: Asked) -> tuple[nn.Module, set[str]]:
    """Build `torchvision.models.get_model(name)`; for segmentation, a classifier gets a decoder.

    A decoder is smp's U-Net where smp has the encoder, and the FCN of the ACS paper elsewhere.
    """
    models = import_zoo("torchvision").models
    dense = models.list_models(module=models.segmentation)
    known = [*models.list_models(module=models), *dense, *models.list_models(module=models.video)]
    if asked.name not in known:
        raise nearest("network of torchvision", asked.name, known)
    given = dict(asked.options)
    weights = _weights(models, asked)
    built: set[str] = set()
    if weights is None and asked.num_classes is not None:
        given["num_classes"] = asked.num_classes
        built.add("num_classes")
    if asked.name in dense:
        given |= {"weights_backbone": None}
        network = models.get_model(asked.name, weights=weights, **given)
        # published weights have a second head for training, which nothing here learns from
        network.aux_classifier = None
        return network, built
    network = models.get_model(asked.name, weights=weights, **given)
    if asked.segment:
        return fcn(network, asked.num_classes or 2), {"num_classes"}
    return network, built


def _weights(models: Any, asked: Asked) -> str | None:
    if asked.weights is None:
        return None
    names = [weights.name for weights in models.get_model_weights(asked.name)]
    if not names:
        raise refuse_weights(asked, "torchvision publishes none")
    if asked.weights is True:
        return "DEFAULT"
    if asked.weights not in [*names, "DEFAULT"]:
        raise refuse_weights(asked, f"torchvision has {', '.join(names)}")
    return str(asked.weights)
