"""Any network of a reference inside nnU-Net v2, whose plans name the function that builds it.

Isensee et al., nnU-Net, Nature Methods 18, 2021. nnU-Net plans, augments, trains and predicts as it
does; the trainer is its own nnUNetTrainerNoDeepSupervision, because such a network has one output.
"""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from lean3d.errors import DataError, RunError
from lean3d.files import write_text
from lean3d.networks.network import Network

__all__ = ["edit_plans", "network"]

HERE = "lean3d.networks.nnunet.network"


class ForNNUNet(nn.Module):
    """A network whose own methods nnU-Net does not call: it would initialise the weights again."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        # nnU-Net switches deep supervision off there
        self.decoder = SimpleNamespace(deep_supervision=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


def network(
    input_channels: int, num_classes: int, deep_supervision: bool = False, **settings: object
) -> nn.Module:
    """Build a network as nnU-Net calls it: the `network_class_name` of its plans.

    Args:
        settings: Of `lean3d.networks.Network`: reference, convert, keep_depth, weights, options.

    Raises:
        RunError: deep supervision is asked for, or there is no such network.
    """
    if deep_supervision:
        raise RunError(
            "a network of lean3d has one output and no deep supervision; train with "
            "-tr nnUNetTrainerNoDeepSupervision"
        )
    ends: Any = dict(in_channels=input_channels, num_classes=num_classes)
    return ForNNUNet(Network(**{"segment": True, **settings, **ends}).build().model)


def edit_plans(
    plans: str | Path,
    name: str,
    reference: str,
    *,
    configuration: str = "3d_fullres",
    patch_size: tuple[int, ...] | None = None,
    batch_size: int | None = None,
    **settings: object,
) -> Path:
    """Write plans of another name beside those of nnU-Net, with a network of lean3d.

    Preprocessed data stay as they are: train with `-p NAME -tr nnUNetTrainerNoDeepSupervision`.

    Args:
        plans: nnUNetPlans.json in the folder of the preprocessed data set.
        name: Of the new plans.
        reference: As `lean3d.networks.Network` takes it; `settings` are its others.
        patch_size: If the planned one is no multiple of the network's stride, usually 32.

    Raises:
        DataError: there are no plans, or they have no such configuration.
    """
    plans = Path(plans)
    try:
        edited = json.loads(plans.read_text())
        planned = edited["configurations"][configuration]
    except OSError as error:
        raise DataError(
            f"cannot read {plans}: {error.strerror}; run nnUNetv2_plan first"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        known = list(edited.get("configurations", {})) if isinstance(error, KeyError) else []
        more = f"; it has {', '.join(known)}" if known else ""
        raise DataError(
            f"{plans} has no configuration {configuration!r} of nnU-Net{more}"
        ) from error
    if name == edited.get("plans_name"):
        raise RunError(f"{plans} has the name {name} already; give the new plans another")
    edited["plans_name"] = name
    planned["architecture"] = {
        "network_class_name": HERE,
        "arch_kwargs": {"reference": reference, **settings},
        "_kw_requires_import": [],
    }
    if patch_size is not None:
        planned["patch_size"] = list(patch_size)
    if batch_size is not None:
        planned["batch_size"] = batch_size
    path = plans.with_name(f"{name}.json")
    write_text(path, json.dumps(edited, indent=1) + "\n")
    return path
