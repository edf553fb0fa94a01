"""Networks of segmentation-models-pytorch: "Unet/resnet34", the decoder and its encoder."""

from typing import Any

from torch import nn

from lean3d.errors import RunError
from lean3d.networks.source import Asked, import_zoo, nearest, refuse_weights

__all__ = ["encoders", "smp_network"]

ENCODER = "resnet34"


def smp_network(asked: Asked) -> tuple[nn.Module, set[str]]:
    """Build smp's network of this decoder and encoder; smp's own default encoder is resnet34."""
    smp = import_zoo("segmentation_models_pytorch")
    arch, _, encoder = asked.name.partition("/")
    encoder = encoder or ENCODER
    known = {kind.__name__.lower(): kind for kind in smp.MODEL_ARCHITECTURES_MAPPING.values()}
    if arch.lower() not in known:
        names = [kind.__name__ for kind in known.values()]
        raise nearest("decoder of segmentation-models-pytorch", arch, names)
    _check_encoder(encoder)
    given: dict[str, Any] = dict(in_channels=asked.in_channels, classes=asked.num_classes)
    given = {key: value for key, value in given.items() if value is not None}
    weights = _weights(asked, encoder)
    network = known[arch.lower()](encoder, encoder_weights=weights, **given, **asked.options)
    return network, {"in_channels", "num_classes"}


def encoders() -> list[str]:
    """Return the names of smp's own encoders."""
    return import_zoo("segmentation_models_pytorch").encoders.get_encoder_names()


def _check_encoder(encoder: str) -> None:
    if encoder.startswith("tu-"):
        timm = import_zoo("timm")
        if not timm.is_model(encoder[3:]):
            raise nearest("network of timm", encoder[3:], timm.list_models())
    elif encoder not in encoders():
        raise nearest("encoder of segmentation-models-pytorch", encoder, encoders())


def _weights(asked: Asked, encoder: str) -> str | bool | None:
    """Return what `encoder_weights` takes: smp publishes the weights of encoders."""
    if asked.weights is None:
        return None
    if encoder.startswith("tu-"):
        if asked.weights is not True:
            name = f"{encoder.partition('.')[0]}.{asked.weights}"
            raise RunError(
                f"weights of timm's encoders belong to the name: {name} with weights pretrained"
            )
        return True
    smp = import_zoo("segmentation_models_pytorch")
    known = list(smp.encoders.encoders[encoder]["pretrained_settings"])
    if asked.weights is not True and asked.weights not in known:
        raise refuse_weights(asked, f"{encoder} has {', '.join(known) or 'none'}")
    if not known:
        raise refuse_weights(asked, f"{encoder} has none")
    if asked.weights is not True:
        return asked.weights
    return "imagenet" if "imagenet" in known else str(known[0])
