"""Tensors from a file, without running any code in it."""

import argparse
from collections.abc import Collection, Mapping
from pathlib import Path, PosixPath, PurePosixPath
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

import numpy as np
import torch
from torch import Tensor

from lean3d.checkpoints.wrappers import Unwrapped, sets_in, unwrap
from lean3d.errors import DataError, clipped
from lean3d.limits import check_memory, in_bytes
from lean3d.optional import require
from lean3d.weights import check_tensors

__all__ = ["read_file", "read_tensors"]

# first bytes of torch.save's files before it wrote zip files
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9"
DAMAGED = "the file is damaged, or is no checkpoint"
PICKLE = (
    "it is a pickle, which can run code when it is read; if you trust it, write its arrays as "
    "tensors once: blobs = pickle.load(file, encoding='latin1')['blobs'] for Caffe2, then "
    "torch.save({name: torch.as_tensor(array) for name, array in blobs.items()}, 'weights.pt')"
)


def read_tensors(path: str | Path, own: Collection[str] = ()) -> Unwrapped:
    """Return the tensors of the model in a .safetensors file, or a file by torch.save, by name.

    Args:
        own: The names of the model that they are for, see `unwrap`.

    Raises:
        DataError: the file is missing, damaged, would run code, or holds no tensors by name.
    """
    content = read_file(path)
    found = unwrap(content, own)
    if not found.tensors and (sets := sets_in(content)):
        raise DataError(
            f"{path} holds state_dicts under {', '.join(sets)}, and no name says which is the "
            f"model's; save one alone: torch.save(torch.load(path)[{sets[-1]!r}], new_path)"
        )
    if not found.tensors:
        keys = ", ".join(map(repr, content)) if isinstance(content, Mapping) else ""
        there = f", only {clipped(keys, 120)}" if keys else ""
        raise DataError(
            f"{path} holds no tensors by name{there}; a state_dict was expected: save it alone"
        )
    check_tensors(path, found.tensors)
    return found


def read_file(path: str | Path) -> Any:
    """Return what a .safetensors file, or a file by torch.save, holds, without running any code.

    Raises:
        DataError: the file is missing or damaged, or would run code.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    check_memory(f"what {path} holds", path.stat().st_size, "free some")
    return _safetensors(path) if path.suffix == ".safetensors" else _torch(path)


def _safetensors(path: Path) -> dict[str, Tensor]:
    load = require("safetensors.torch", extra="checkpoints").load_file
    try:
        return load(path)
    except Exception as error:  # its own class, or any error caused by damaged bytes
        raise DataError(f"cannot read {path}: {error}; {DAMAGED}") from error


def _torch(path: Path) -> Any:
    _check_unpacked(path)
    try:
        with torch.serialization.safe_globals(_harmless()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load may raise anything on damaged bytes
        raise DataError(f"cannot read {path}: {_why(path, error)}") from error


def _harmless() -> list[Any]:
    """Return what trainers save beside tensors and what runs no code: scores, paths, arguments."""
    core = getattr(np, "_core", None) or np.core
    kinds = {type(np.dtype(kind)) for kind in np.typecodes["All"] if kind not in "OVSUmM"}
    multiarray: Any = core.multiarray
    arrays = [multiarray.scalar, multiarray._reconstruct, np.ndarray, np.dtype, *kinds]
    return [*arrays, argparse.Namespace, PosixPath, PurePosixPath]


def _check_unpacked(path: Path) -> None:
    """Refuse a compressed file: torch.save does not compress, and this could be a zip bomb."""
    if not is_zipfile(path):
        return
    try:
        with ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataError(f"cannot read {path}: {DAMAGED}") from error
    if size > path.stat().st_size:
        raise DataError(
            f"cannot read {path}: it is compressed, {in_bytes(size)} once unpacked, and "
            f"torch.save does not compress; {DAMAGED}"
        )


def _why(path: Path, error: Exception) -> str:
    """Describe the error by the first bytes; torch's message advises unsafe loading."""
    with path.open("rb") as file:
        start = file.read(len(LEGACY))
    written_by_torch = start == LEGACY or is_zipfile(path)
    if written_by_torch and isinstance(error, UnpicklingError):
        return "it holds more than tensors; save its state_dict alone where it was made"
    return PICKLE if start[:1] == b"\x80" and not written_by_torch else DAMAGED
