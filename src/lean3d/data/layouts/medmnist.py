"""MedMNIST3D: Yang et al., MedMNIST v2, Scientific Data 10, 2023. Six sets of small volumes."""

from functools import lru_cache
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import numpy as np
import torch

from lean3d.data.layouts.registry import Found, Item, register_layout
from lean3d.data.volume import Volume
from lean3d.errors import DataError

__all__ = ["medmnist"]

SPLITS = "train", "val", "test"
CLASSES = {
    "organ": (
        *("liver", "kidney-right", "kidney-left", "femur-right", "femur-left", "bladder"),
        *("heart", "lung-right", "lung-left", "spleen", "pancreas"),
    ),
    "nodule": ("benign", "malignant"),
    "adrenal": ("normal", "hyperplasia"),
    "fracture": (
        *("buckle rib fracture", "nondisplaced rib fracture"),
        "displaced rib fracture",
    ),
    "vessel": ("vessel", "aneurysm"),
    "synapse": ("inhibitory synapse", "excitatory synapse"),
}


@register_layout
def medmnist(folder: Path) -> Found:
    """MedMNIST3D: FILE.npz, such as organmnist3d_64.npz, or the folder of one"""
    path = _file(folder)
    items = []
    for split in SPLITS:
        images, labels = (_array(path, f"{split}_{what}") for what in ("images", "labels"))
        if images.ndim != 4 or 0 in images.shape:
            raise DataError(f"{path}: {split}_images is {images.shape}, not (N, D, H, W)")
        if images.dtype.kind not in "iufb" or not np.isfinite(images).all():
            found = "NaN or infinity" if images.dtype.kind == "f" else f"{images.dtype}"
            raise DataError(f"{path}: {split}_images holds {found}, not finite numbers; replace it")
        if labels.shape not in ((len(images),), (len(images), 1)) or labels.dtype.kind not in "iub":
            raise DataError(
                f"{path}: {split}_labels is {labels.shape} of {labels.dtype}, not one class number "
                f"for each of {len(images)} volumes"
            )
        if len(labels) and labels.min() < 0:
            raise DataError(f"{path}: {split}_labels holds {labels.min()}; classes count from 0")
        for place, label in enumerate(labels.reshape(-1).tolist()):
            name = f"{split}_{place:05}"
            items.append(_item(path, split, place, name, int(label)))
    known = next((names for word, names in CLASSES.items() if path.name.startswith(word)), None)
    return Found(tuple(items), known)


def _item(path: Path, split: Any, place: int, name: str, label: int) -> Item:
    def read() -> Volume:
        image = torch.from_numpy(_array(path, f"{split}_images")[place].astype(np.float32))
        return Volume(image[None], None, np.eye(4), name, placed=False)

    return Item(name, path, target=(label,), split=split, read=read)


def _file(folder: Path) -> Path:
    files = [folder] if folder.is_file() else sorted(folder.glob("*mnist3d*.npz"))
    if len(files) != 1:
        names = ", ".join(path.name for path in files) or "none"
        raise DataError(f"{folder} holds {names}; give one file, such as organmnist3d.npz")
    return files[0]


def _array(path: Path, name: str) -> np.ndarray:
    try:
        changed = path.stat().st_mtime_ns
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check the path") from error
    return _unpacked(path, name, changed)


# a compressed array is unpacked as a whole; three splits of images and labels
@lru_cache(maxsize=6)
def _unpacked(path: Path, name: str, changed: int) -> np.ndarray:
    if not is_zipfile(path):
        raise DataError(f"{path} is no npz; give a file of MedMNIST3D, or copy it again")
    try:
        with np.load(path, allow_pickle=False) as file:
            return file[name]
    except KeyError as error:
        raise DataError(f"{path} has no array {name}; give a file of MedMNIST3D") from error
    except Exception as error:
        raise DataError(f"{path} cannot be read as npz ({error}); copy it again") from error
