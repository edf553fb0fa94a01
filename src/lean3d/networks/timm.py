"""Networks of timm; for segmentation they get a decoder of segmentation-models-pytorch."""

from dataclasses import replace
from typing import Any

from torch import nn

from lean3d.networks.smp import smp_network
from lean3d.networks.source import Asked, import_zoo, nearest, refuse_weights

__all__ = ["timm_network"]


def timm_network(asked: Asked) -> tuple[nn.Module, set[str]]:
    """Build `timm.create_model(name)`, or for segmentation a U-Net with it as encoder."""
    timm = import_zoo("timm")
    if not timm.is_model(asked.name):
        raise nearest("network of timm", asked.name, timm.list_models())
    if asked.segment:
        return smp_network(replace(asked, name=f"Unet/tu-{asked.name}"))
    ends = dict(in_chans=asked.in_channels, num_classes=asked.num_classes)
    given: dict[str, Any] = {key: value for key, value in ends.items() if value is not None}
    given |= asked.options | _weights(timm, asked)
    return timm.create_model(asked.name, **given), {"in_channels", "num_classes"}


def _weights(timm: Any, asked: Asked) -> dict[str, Any]:
    if asked.weights is None:
        return {"pretrained": False}
    arch, _, _ = asked.name.partition(".")
    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{arch}.*")]
    if not tags:
        raise refuse_weights(asked, "timm publishes none")
    if asked.weights is True:
        return {"pretrained": True}
    if asked.weights not in tags:
        raise refuse_weights(asked, f"timm has {', '.join(tags)}")
    return {"pretrained": True, "pretrained_cfg": asked.weights}
