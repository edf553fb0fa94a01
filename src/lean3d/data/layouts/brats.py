"""BraTS, brain tumours in four channels of MR, with the names of 2018 to 2021 and since 2023."""

from pathlib import Path

from lean3d.data.formats.registry import is_scan, stem
from lean3d.data.layouts.registry import Found, Item, register_layout
from lean3d.errors import DataError

__all__ = ["brats"]

# endings of the channels, always in this order; of the mask; values of its classes
YEARS = (
    (("_t1", "_t1ce", "_t2", "_flair"), "_seg", (0, 1, 2, 4)),
    (("-t1n", "-t1c", "-t2w", "-t2f"), "-seg", (0, 1, 2, 3)),
)
CLASSES = "background", "necrosis", "edema", "enhancing tumour"


@register_layout
def brats(folder: Path) -> Found:
    """BraTS: CASE_t1, _t1ce, _t2, _flair and _seg, or CASE-t1n, -t1c, -t2w, -t2f and -seg"""
    scans = {stem(path): path for path in folder.rglob("*") if path.is_file() and is_scan(path)}
    for channels, mask, values in YEARS:
        cases = sorted(name.removesuffix(mask) for name in scans if name.endswith(mask))
        if cases:
            items = tuple(_item(case, scans, channels, mask, folder) for case in cases)
            return Found(items, CLASSES, ("T1", "T1 with contrast", "T2", "FLAIR"), values)
    raise DataError(f"{folder} holds no CASE_seg or CASE-seg; give the folder of BraTS' cases")


def _item(
    case: str, scans: dict[str, Path], channels: tuple[str, ...], mask: str, folder: Path
) -> Item:
    missing = [case + ending for ending in channels if case + ending not in scans]
    if missing:
        raise DataError(f"{folder}: case {case} has no {missing[0]}; add it, or move it away")
    return Item(case, tuple(scans[case + ending] for ending in channels), scans[case + mask])
