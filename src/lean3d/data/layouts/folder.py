"""Folders of cases: your own, nnU-Net's and those of the Medical Segmentation Decathlon."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lean3d.data.folder import find_pairs
from lean3d.data.formats.registry import is_scan, stem
from lean3d.data.layouts.registry import Found, Item, register_layout
from lean3d.errors import DataError

__all__ = ["decathlon", "folder", "nnunet", "read_dataset_json"]


@register_layout
def folder(folder: Path) -> Found:
    """images/ and labels/, imagesTr/ and labelsTr/, or case_label beside case; dataset.json"""
    about = read_dataset_json(folder)
    items = _listed(folder, about) or [Item(*_pair(pair)) for pair in find_pairs(folder)]
    return Found(tuple(items), _classes(about, folder), _channels(about, folder))


@register_layout
def nnunet(folder: Path) -> Found:
    """nnU-Net v2: imagesTr/case_0000, labelsTr/case, dataset.json"""
    return _with_json(folder)


@register_layout
def decathlon(folder: Path) -> Found:
    """Medical Segmentation Decathlon: imagesTr (channels along a fourth axis), dataset.json"""
    return _with_json(folder)


def read_dataset_json(folder: Path) -> dict[str, Any]:
    """Return the contents of dataset.json; empty if there is none."""
    path = folder / "dataset.json"
    if not path.is_file():
        return {}
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"cannot read {path}: {error}; it is damaged: repair it") from error
    if not isinstance(about, dict):
        raise DataError(f"{path} holds no names and values; give the data set's own")
    return about


def _with_json(directory: Path) -> Found:
    if not (directory / "dataset.json").is_file():
        raise DataError(f"{directory} has no dataset.json; give the folder that has it")
    return folder(directory)


def _pair(pair: tuple) -> tuple:
    image, label, name = pair
    return name, image, label


def _listed(directory: Path, about: dict[str, Any]) -> list[Item]:
    """Cases that dataset.json lists, where no folder of a known name holds them."""
    if any((directory / name).is_dir() for name in ("images", "imagesTr")):
        return []
    items = []
    for entry in about.get("training") or ():
        if not isinstance(entry, dict) or not {"image", "label"} <= entry.keys():
            raise DataError(f"{directory}/dataset.json: a case is {{image, label}}, got {entry}")
        image, label = directory / str(entry["image"]), directory / str(entry["label"])
        for path in (image, label):
            if not path.exists() or not is_scan(path):
                raise DataError(f"{directory}/dataset.json names {path}, which is not there")
        items.append(Item(stem(image), image, label))
    return sorted(items, key=lambda item: item.name)


def _classes(about: dict[str, Any], folder: Path) -> tuple[str, ...] | None:
    """Names by class number, from {"0": "background"} or {"background": 0}.

    Raises:
        DataError: a number is missing or double.
    """
    labels = about.get("labels")
    if not isinstance(labels, dict) or not labels:
        return None
    numbered = dict(_numbered(labels))
    # a region is a list of classes, which have no names of their own
    regions = [n for value in labels.values() if isinstance(value, list) for n in value]
    numbered |= {n: str(n) for n in regions if isinstance(n, int) and n not in numbered}
    if sorted(numbered) != list(range(len(numbered))):
        raise DataError(
            f"the labels of {folder}/dataset.json are {', '.join(map(str, sorted(numbered)))}, not "
            f"0 to {len(numbered) - 1}; number them without gaps, 0 for the background"
        )
    return tuple(numbered[number] for number in range(len(numbered)))


def _numbered(labels: dict[str, Any]) -> Iterator[tuple[int, str]]:
    for key, value in labels.items():
        if key.isdecimal() and isinstance(value, str):
            yield int(key), value
        elif isinstance(value, int):
            yield value, key
        elif isinstance(value, str) and value.isdecimal():
            yield int(value), key


def _channels(about: dict[str, Any], folder: Path) -> tuple[str, ...] | None:
    names = about.get("channel_names") or about.get("modality")
    if not isinstance(names, dict) or not all(str(key).isdecimal() for key in names):
        return None
    return tuple(str(names[key]) for key in sorted(names, key=int))
