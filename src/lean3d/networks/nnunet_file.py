"""The network of a checkpoint of nnU-Net v2, 3D as it is or 2D before a conversion.

Isensee et al., nnU-Net, Nature Methods 18, 2021. Its checkpoints hold the plans, which name a class
of the package dynamic_network_architectures (PlainConvUNet, ResidualEncoderUNet) and its arguments.
"""

import pydoc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from lean3d.checkpoints.read import read_file
from lean3d.checkpoints.wrappers import unwrap
from lean3d.errors import DataError
from lean3d.networks.source import Asked, import_zoo, refuse_weights
from lean3d.networks.weights import fill

__all__ = ["nnunet_source"]

# what plans may name: classes that build networks, and run nothing else
LIBRARIES = "dynamic_network_architectures.", "torch.nn."


def nnunet_source(asked: Asked) -> tuple[nn.Module, set[str]]:
    """Build the network of a checkpoint, or of the best one in a folder of a fold."""
    path = Path(asked.name).expanduser()
    path = path / "checkpoint_final.pth" if path.is_dir() else path
    found = read_file(path)
    architecture = _architecture(found, path)
    import_zoo("dynamic_network_architectures.architectures.unet")
    kind = _named(architecture["network_class_name"], path)
    given = dict(architecture["arch_kwargs"])
    for name in architecture.get("_kw_requires_import", ()):
        given[name] = None if given[name] is None else _named(given[name], path)
    tensors = unwrap(found).tensors
    kernels = {name: x.shape for name, x in tensors.items() if x.ndim > 3}
    outputs = [shape[0] for name, shape in kernels.items() if "seg_layers." in name]
    if not outputs:
        raise DataError(f"{path} holds no kernels of seg_layers, which nnU-Net's networks end in")
    channels, classes = next(iter(kernels.values()))[1], outputs[-1]
    model = kind(
        input_channels=asked.in_channels or channels,
        num_classes=asked.num_classes or classes,
        deep_supervision=False,
        **given | asked.options,
    )
    if asked.weights is True:
        fill(model, tensors, file=str(path), who=asked.reference)
    elif asked.weights is not None:
        raise refuse_weights(asked, "its own are called pretrained")
    return model, {"in_channels", "num_classes"}


def _architecture(found: Any, path: Path) -> dict[str, Any]:
    try:
        plans = found["init_args"]["plans"]["configurations"]
        planned = plans[found["init_args"]["configuration"]]
        while "architecture" not in planned:
            planned = plans[planned["inherits_from"]]
        architecture = planned["architecture"]
        named = architecture["network_class_name"]
    except (KeyError, TypeError, IndexError) as error:
        raise DataError(
            f"{path} is no checkpoint of nnU-Net v2: it has no plans with an architecture ({error})"
        ) from error
    if not isinstance(named, str) or not isinstance(architecture.get("arch_kwargs"), Mapping):
        raise DataError(f"{path}: the architecture of its plans has no class and arguments")
    return dict(architecture)


def _named(name: object, path: Path) -> Any:
    """Return a class that builds a network or a layer, and nothing else."""
    kind = pydoc.locate(name) if isinstance(name, str) and name.startswith(LIBRARIES) else None
    if not isinstance(kind, type) or not issubclass(kind, nn.Module):
        raise DataError(
            f"{path}: its plans name {str(name)[:80]!r}, which is no layer or network of "
            "dynamic_network_architectures or torch.nn"
        )
    return kind
