"""LiTS, the Liver Tumor Segmentation benchmark: Bilic et al., arXiv:1901.04056."""

import re
from pathlib import Path

from lean3d.data.layouts.registry import Found, Item, register_layout
from lean3d.errors import DataError

__all__ = ["lits"]

NUMBER = re.compile(r"^volume-(\d+)\.nii(\.gz)?$")


@register_layout
def lits(folder: Path) -> Found:
    """LiTS: volume-N.nii and segmentation-N.nii, in DIR or its batches"""
    items = []
    for path in folder.rglob("volume-*.nii*"):
        found = NUMBER.match(path.name)
        if found is None:
            continue
        names = [f"segmentation-{found[1]}.nii{end}" for end in ("", ".gz")]
        masks = [mask for name in names for mask in folder.rglob(name)]
        if not masks:
            raise DataError(f"{path} has no segmentation-{found[1]}.nii; add it, or move it away")
        items.append((int(found[1]), Item(f"volume-{found[1]}", path, masks[0])))
    ordered = tuple(item for _, item in sorted(items, key=lambda pair: pair[0]))
    return Found(ordered, ("background", "liver", "lesion"), ("CT",))
