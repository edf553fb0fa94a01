"""Damage to files, called by name in the setup of an input; each is small and repeatable."""

import json
import os
import shutil
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np


def there(damage: Callable[..., None]) -> Callable[..., None]:
    """Damage that does nothing to a file which an earlier one took away."""

    @wraps(damage)
    def careful(path: str, *more: Any) -> None:
        if not os.path.islink(path) and os.path.isfile(path):
            damage(path, *more)

    return careful


@there
def cut(path: str, share: float) -> None:
    """Keep the first part of a file."""
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: int(share * len(content))])


@there
def flip(path: str, places: list[float], value: int) -> None:
    """Other bytes at some places, given as shares of the file."""
    content = bytearray(Path(path).read_bytes())
    for place in places if content else []:
        content[min(int(place * len(content)), len(content) - 1)] ^= value
    Path(path).write_bytes(content)


@there
def blank(path: str, start: float, share: float) -> None:
    """Zeros over a part of a file."""
    content = bytearray(Path(path).read_bytes())
    begin, size = int(start * len(content)), int(share * len(content))
    content[begin : begin + size] = bytes(len(content[begin : begin + size]))
    Path(path).write_bytes(content)


@there
def double(path: str, other: str) -> None:
    """Another file's bytes behind it."""
    Path(path).write_bytes(Path(path).read_bytes() + Path(other).read_bytes())


def become(path: str, kind: str) -> None:
    """Something else at a path: nothing, a folder, a link to itself, another file."""
    place = Path(path)
    if path == kind:
        return
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
    if kind == "folder":
        place.mkdir()
    elif kind == "loop":
        place.symlink_to(place.name)
    elif kind == "empty":
        place.write_bytes(b"")
    elif kind == "unreadable":
        place.write_bytes(bytes(range(256)))
        place.chmod(0)
    elif kind != "missing":
        shutil.copy(kind, place)


def steps_of(value: Any) -> list[tuple]:
    """The paths to everything inside nested dicts and lists."""
    found: list[tuple] = []
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        found.append((key,))
        if isinstance(inner, dict | list) and inner:
            found += [(key, *rest) for rest in steps_of(inner)]
    return found


def changed(value: Any, new: Any) -> Any:
    """The new value; from the one that stands there, or that itself where it cannot be so."""
    if not callable(new):
        return new
    try:
        return new(value)
    except (IndexError, RuntimeError):
        return value


def edit(value: Any, which: int, how: str, new: Any) -> Any:
    """Change the `which`-th thing inside: set, drop, rename it, or wrap everything."""
    paths = steps_of(value) if isinstance(value, dict | list) else []
    if how == "whole" or not paths:
        return None if callable(new) else new
    if how == "wrap":
        return {str(new)[:20]: value}
    *way, last = paths[which % len(paths)]
    inside = value
    for key in way:
        inside = inside[key]
    if how == "drop":
        del inside[last]
    elif how == "rename" and isinstance(inside, dict):
        inside[f"{last}.x"] = inside.pop(last)
    else:
        inside[last] = changed(inside[last], new)
    return value


def edit_json(path: str, which: int, how: str, new: Any) -> None:
    record = json.loads(Path(path).read_text())
    Path(path).write_text(json.dumps(edit(record, which, how, new), default=str))


def edit_torch(path: str, which: int, how: str, new: Any, to: str | None = None) -> None:
    import torch

    content = torch.load(path, weights_only=True)
    torch.save(edit(content, which, how, new), to or path)


def edit_safetensors(path: str, to: str, which: int, how: str, new: Any) -> None:
    """The header of a .safetensors file, its tensors as they are."""
    import safetensors.torch
    import torch

    plain = {k: v.contiguous() for k, v in torch.load(path, weights_only=True).items()}
    content = safetensors.torch.save(plain)
    size = int.from_bytes(content[:8], "little")
    header = edit(json.loads(content[8 : 8 + size]), which, how, new)
    text = json.dumps(header, default=str).encode()
    Path(to).write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])


def hostile(path: str) -> None:
    """A pickle that would run code: the file `ran` shows that it did."""
    import torch

    class Runs:
        def __reduce__(self):
            return os.system, ("touch ran",)

    torch.save({"state_dict": {"x": Runs()}}, path)


# bytes of a NIfTI-1 header: name -> place and struct of one value
NIFTI = {
    "sizeof_hdr": (0, "<i4", 1), "dim": (40, "<i2", 8), "intent_code": (68, "<i2", 1),
    "datatype": (70, "<i2", 1), "bitpix": (72, "<i2", 1), "pixdim": (76, "<f4", 8),
    "vox_offset": (108, "<f4", 1), "scl_slope": (112, "<f4", 1), "scl_inter": (116, "<f4", 1),
    "xyzt_units": (123, "u1", 1), "qform_code": (252, "<i2", 1), "sform_code": (254, "<i2", 1),
    "quatern": (256, "<f4", 6), "srow": (280, "<f4", 12), "magic": (344, "u1", 4),
    "extension": (348, "u1", 4),
}  # fmt: skip


@there
def edit_nifti(path: str, name: str, place: int, value: float) -> None:
    """One value of the header."""
    start, kind, count = NIFTI[name]
    content = bytearray(Path(path).read_bytes())
    size = np.dtype(kind).itemsize
    at = start + size * (place % count)
    with np.errstate(all="ignore"):
        info = np.iinfo(kind) if np.dtype(kind).kind in "iu" else None
        kept = value if info is None else int(np.clip(np.nan_to_num(value), info.min, info.max))
        content[at : at + size] = np.array([kept]).astype(kind).tobytes()
    Path(path).write_bytes(content)


@there
def pack(path: str, to: str, behind: int = 0) -> None:
    """Compress a file, with so many zeros behind it."""
    import gzip

    Path(to).write_bytes(gzip.compress(Path(path).read_bytes() + bytes(behind), 1))
