"""IBSR, the Internet Brain Segmentation Repository, version 2: 18 brains at 1.5 mm.

PmSCn (Sec 4.2) trains on eleven of them, tests on five and validates on two, and does not say
which; here they are taken in the order of their numbers.
"""

from pathlib import Path

from lean3d.data.formats.registry import stem
from lean3d.data.layouts.registry import Found, Item, register_layout
from lean3d.errors import DataError

__all__ = ["ibsr"]

TRAIN, TEST = 11, 5
ENDINGS = ".nii.gz", ".nii", ".hdr"


@register_layout
def ibsr(folder: Path) -> Found:
    """IBSR: IBSR_xx_ana and IBSR_xx_segTRI_ana, in DIR or its folders"""
    items: list[Item] = []
    scans = [p for p in folder.rglob("IBSR_*_ana.*") if p.name.endswith(ENDINGS)]
    for path in sorted((p for p in scans if stem(p).count("_") == 2), key=lambda p: p.name):
        name = stem(path).removesuffix("_ana")
        masks = [p for p in scans if stem(p) == f"{name}_segTRI_ana"]
        if not masks:
            raise DataError(f"{path} has no {name}_segTRI_ana; add it, or move the scan away")
        place = len(items)
        split = "train" if place < TRAIN else "test" if place < TRAIN + TEST else "val"
        items.append(Item(name, path, masks[0], split=split))  # type: ignore[arg-type]
    if len(items) < TRAIN + TEST:
        # fewer than there are: a share is held out
        items = [Item(item.name, item.image, item.label) for item in items]
    return Found(tuple(items), ("background", "CSF", "grey", "white"), ("MR",))
