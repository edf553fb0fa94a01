"""Networks of MONAI, 3D as they are or 2D before a conversion: "monai:UNet"."""

import inspect
from typing import Any

from torch import nn

from lean3d.errors import RunError
from lean3d.networks.source import Asked, nearest, refuse_weights
from lean3d.optional import require

__all__ = ["monai_network"]

# names under which MONAI's networks take the number of classes
CLASSES = "out_channels", "num_classes"
NAMED = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
# of a UNet, whose arguments these have no default
START: dict[str, Any] = {"channels": (16, 32, 64, 128), "strides": (2, 2, 2)}


def monai_network(asked: Asked) -> tuple[nn.Module, set[str]]:
    """Build `monai.networks.nets.NAME` for volumes, or for images if it is to be converted.

    A UNet gets channels 16, 32, 64, 128 and strides of 2 unless options say otherwise.
    """
    nets = require("monai.networks.nets", extra="volume")
    known = {n: k for n, k in vars(nets).items() if inspect.isclass(k) and issubclass(k, nn.Module)}
    if asked.name not in known:
        raise nearest("network of MONAI", asked.name, known)
    if asked.weights is not None:
        raise refuse_weights(asked, "give the file of a MONAI bundle's weights")
    takes = inspect.signature(known[asked.name]).parameters
    classes = next((name for name in CLASSES if name in takes), "")
    ends = {"in_channels": asked.in_channels or 1, classes: asked.num_classes or 2}
    given = {"spatial_dims": asked.dims, **ends}
    given = {key: value for key, value in given.items() if key in takes}
    needed = [p.name for p in takes.values() if p.default is p.empty and p.name not in given]
    if not asked.options.keys() & START.keys():
        given |= {key: START[key] for key in needed if key in START}
    given |= asked.options
    if missing := [name for name in needed if name not in given and takes[name].kind in NAMED]:
        raise RunError(
            f"{asked.reference} needs {', '.join(missing)}; give them as options, such as "
            f"{missing[0]}=[16,32]"
        )
    return known[asked.name](**given), {"in_channels", "num_classes"}
