"""A segmentation run as a bundle of MONAI, which its own commands verify and run.

The bundle's configs build the network with lean3d, which has to be installed; the data pass MONAI's
own transforms, sliding windows and writers.

Axes: C channels, D depth, H height, W width.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lean3d import __version__
from lean3d.data import Masks, Scale
from lean3d.data.intensity import standardise
from lean3d.errors import RunError
from lean3d.files import write_text, write_whole
from lean3d.optional import require
from lean3d.recipes.base import Recipe
from lean3d.recipes.build import build_model
from lean3d.recipes.load import load_run, read_record
from lean3d.recipes.segmentation import SegmentationRecipe
from lean3d.recipes.share import card_of, empty_folder, is_code, public_record, scores_of

__all__ = ["Probabilities", "Scaled", "network", "save_bundle"]

SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)
USE = (
    "In this folder, with lean3d installed; the masks of `scans` are written to `masks`:",
    "",
    "```bash",
    "python -m monai.bundle run --config_file configs/inference.json "
    "--meta_file configs/metadata.json --dataset_dir scans",
    "```",
)


def save_bundle(
    run: str | Path, folder: str | Path, *, license: str, name: str = "", author: str = ""
) -> Path:
    """Write a finished segmentation run as a MONAI bundle to an empty folder.

    Args:
        license: Of the weights, such as "apache-2.0".
        name: Of the bundle; the folder's by default.
        author: Who made the model; not said by default.

    Raises:
        RunError: the run segments nothing, cuts slices across several axes or needs code of yours,
            or the folder is not empty.
    """
    run, folder = Path(run), empty_folder(folder)
    model, recipe = load_run(run)
    if not isinstance(recipe, SegmentationRecipe):
        raise RunError(
            f"{run} learnt {recipe.task}, and a MONAI bundle is of runs that segment; "
            "share it with --package run"
        )
    if len(recipe.patch) == 2 and len(recipe.axes) > 1:
        raise RunError(
            f"{run} averages slices across several axes, and MONAI's inferer cuts across one; "
            "train with --axes 0"
        )
    if is_code(recipe.model):
        raise RunError(f"{run} needs the code {recipe.model}, which a bundle does not hold")
    record = read_record(run)
    about = dict(license=license, name=name or folder.name, author=author)
    card = card_of(model, recipe, record, scores_of(run), license, about["name"], USE)
    for part in ("configs", "models", "docs"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    with write_whole(folder / "models" / "model.pt") as temporary:
        torch.save(Probabilities(model, recipe.activation).state_dict(), temporary)
    texts = {
        "configs/recipe.json": json.dumps(public_record(record), indent=1),
        "configs/metadata.json": json.dumps(_metadata(recipe, about, scores_of(run)), indent=1),
        "configs/inference.json": json.dumps(_inference(recipe), indent=1),
        "docs/README.md": card,
        "docs/license.txt": license,
    }
    for path, text in texts.items():
        write_text(folder / path, text.rstrip() + "\n")
    return folder


class Probabilities(nn.Module):
    """A network whose outputs are probabilities: sliding windows blend them, as prediction does."""

    def __init__(self, model: nn.Module, activation: str):
        super().__init__()
        self.model, self.activation = model, activation

    def forward(self, x: Tensor) -> Tensor:
        y = self.model(x)
        return y.softmax(1) if self.activation == "softmax" else y.sigmoid()


def network(recipe: str) -> nn.Module:
    """Build the network of a bundle from its recipe.json, without its weights."""
    record = json.loads(Path(recipe).read_text(encoding="utf-8"))
    built = Recipe.from_dict(record["recipe"])
    if not isinstance(built, SegmentationRecipe):
        raise RunError(f"{recipe} is of {built.task}, and a bundle segments; write it again")
    return Probabilities(build_model(built).model, built.activation)


class Scaled:
    """Scales an image as the run does; a transform of MONAI.

    Args:
        scaling: Four values for each channel, as a recipe has them.
    """

    def __init__(self, scaling: Sequence[float]):
        self.scales = [
            Scale(*scaling[i : i + 4]) if any(scaling[i : i + 4]) else None
            for i in range(0, len(scaling), 4)
        ]

    def __call__(self, image_CDHW: Tensor) -> Tensor:
        if len(image_CDHW) != len(self.scales):
            raise RunError(
                f"the network takes {len(self.scales)} channels, got {len(image_CDHW)}; give the "
                "images of all channels in order"
            )
        pairs = zip(image_CDHW, self.scales, strict=True)
        return torch.stack([standardise(x) if scale is None else scale(x) for x, scale in pairs])


def _inference(recipe: SegmentationRecipe) -> dict[str, Any]:
    flat = len(recipe.patch) == 2
    image, pred = ["image"], ["pred"]
    steps: list[dict[str, Any]] = [
        {"_target_": "LoadImaged", "keys": image, "image_only": True},
        {"_target_": "EnsureChannelFirstd", "keys": image},
        # lean3d's axes: towards superior, anterior, right
        {"_target_": "Orientationd", "keys": image, "axcodes": "SAR", "labels": None},
        {"_target_": "EnsureTyped", "keys": image, "dtype": "$torch.float32"},
    ]
    if recipe.sides_mm is not None:
        spacing = {"_target_": "Spacingd", "keys": image, "pixdim": list(recipe.sides_mm)}
        steps.append(spacing | {"mode": "bilinear", "padding_mode": "border"})
    scaling = list(recipe.scaling or (0.0,) * 4 * recipe.in_channels)
    scale = {"_target_": "lean3d.recipes.monai_bundle.Scaled", "scaling": scaling}
    steps.append({"_target_": "Lambdad", "keys": image, "func": scale})
    inferer: dict[str, Any] = {
        "_target_": "SliceInferer" if flat else "SlidingWindowInferer",
        "roi_size": list(recipe.patch if flat else recipe.window or recipe.patch),
        "sw_batch_size": recipe.batch_size,
        "overlap": recipe.overlap,
        "mode": "gaussian",
        "padding_mode": "replicate",
    }
    inferer |= {"spatial_dim": recipe.axes[0]} if flat else {}
    choose = {"argmax": True} if recipe.activation == "softmax" else {"threshold": 0.5}
    after: list[dict[str, Any]] = [
        {
            "_target_": "Invertd",
            "keys": pred,
            "transform": "@preprocessing",
            "orig_keys": "image",
            "nearest_interp": False,
            "to_tensor": True,
        },
        {"_target_": "AsDiscreted", "keys": pred, **choose},
        {
            "_target_": "SaveImaged",
            "keys": pred,
            "output_dir": "@output_dir",
            "output_postfix": "mask",
            "output_dtype": "$numpy.uint8",
            "separate_folder": False,
            "resample": False,
        },
    ]
    return {
        "imports": ["$import glob", "$import numpy"],
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/masks'",
        "dataset_dir": "scans",
        "datalist": "$sorted(glob.glob(@dataset_dir + '/*.nii*'))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": {
            "_target_": "lean3d.recipes.monai_bundle.network",
            "recipe": "$@bundle_root + '/configs/recipe.json'",
        },
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": steps},
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': i} for i in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "shuffle": False,
            "num_workers": 0,
        },
        "inferer": inferer,
        "postprocessing": {"_target_": "Compose", "transforms": after},
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": "$@bundle_root + '/models/model.pt'",
                "load_dict": {"model": "@network"},
            }
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
            "amp": False,
        },
        "initialize": ["$setattr(torch.backends.cudnn, 'benchmark', True)"],
        "run": ["$@evaluator.run()"],
    }


def _metadata(
    recipe: SegmentationRecipe, about: dict[str, str], scores: dict[str, Any]
) -> dict[str, Any]:
    monai = require("monai", extra="volume")
    window = list(recipe.window or recipe.patch)
    ct = bool(recipe.scaling) and recipe.hu is not None
    common: dict[str, Any] = dict(type="image", dtype="float32", is_patch_data=True)
    names = dict(enumerate(_channels(recipe)))
    packages = {"nibabel": require("nibabel", extra="volume").__version__, "lean3d": __version__}
    return {
        "schema": SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": "written by lean3d"},
        "monai_version": monai.__version__.partition("+")[0],
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": packages,
        "name": about["name"],
        "task": f"Segmentation of {', '.join(recipe.scored_names)}",
        "description": f"{recipe.model}, trained by lean3d's recipe {recipe.name}",
        "authors": about["author"] or "not said",
        "copyright": f"License of the weights: {about['license']}",
        "intended_use": "Research; not for diagnosis",
        "eval_metrics": {key.removeprefix("val_"): value for key, value in scores.items()},
        "network_data_format": {
            "inputs": {
                "image": common
                | {
                    "format": "hounsfield" if ct else "magnitude",
                    "modality": "CT" if ct else "n/a",
                    "num_channels": recipe.in_channels,
                    "spatial_shape": window,
                    "value_range": [],
                    "channel_def": {str(c): f"channel {c}" for c in range(recipe.in_channels)},
                }
            },
            "outputs": {
                "pred": common
                | {
                    "format": "labels" if recipe.activation == "softmax" else "classes",
                    "num_channels": recipe.num_outputs,
                    "spatial_shape": window,
                    "value_range": [0, 1],
                    "channel_def": {str(number): name for number, name in names.items()},
                }
            },
        },
    }


def _channels(recipe: SegmentationRecipe) -> tuple[str, ...]:
    """Names of the outputs: classes, regions or masks."""
    regions = recipe.read_regions
    if regions is None:
        return recipe.names
    return regions.names if isinstance(regions, Masks) else tuple(regions.names)
