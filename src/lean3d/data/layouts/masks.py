"""Cases with a file for each mask, which may overlap; so TotalSegmentator is laid out."""

from pathlib import Path

from lean3d.data.folder import scans_in
from lean3d.data.formats.registry import stem
from lean3d.data.layouts.registry import Found, Item, register_layout
from lean3d.errors import DataError

__all__ = ["masks"]

FOLDERS = "segmentations", "masks"


@register_layout
def masks(folder: Path) -> Found:
    """Masks that may overlap: CASE/ct.nii.gz and CASE/segmentations/NAME.nii.gz (or masks/)"""
    folders = sorted(path for path in folder.iterdir() if path.is_dir())
    cases = [path for path in folders if any((path / name).is_dir() for name in FOLDERS)]
    if not cases:
        raise DataError(
            f"{folder} holds no CASE/segmentations/NAME.nii.gz; give the folder of the cases"
        )
    for path in folders:
        if path not in cases and scans_in(path):
            raise DataError(
                f"case {path.name} has a scan and no segmentations/; add it, or move the case away"
            )
    known = {case: _masks(case) for case in cases}
    names = tuple(sorted(set().union(*known.values())))
    items = []
    for case, found in known.items():
        for name in names:
            if name not in found:
                raise DataError(f"case {case.name} has no mask {name}; add it, an empty one too")
        items.append(Item(case.name, _scan(case), tuple(found[name] for name in names)))
    return Found(tuple(items), mask_names=names)


def _masks(case: Path) -> dict[str, Path]:
    place = next(case / name for name in FOLDERS if (case / name).is_dir())
    found = {stem(path): path for path in scans_in(place)}
    if not found:
        raise DataError(f"{place} holds no mask; add the masks, or move the case away")
    return found


def _scan(case: Path) -> Path:
    scans = scans_in(case)
    if len(scans) != 1:
        some = ", ".join(path.name for path in scans[:5])
        held = f"the scans {some}" if some else "no scan"
        raise DataError(f"{case} holds {held}; one is expected beside the masks")
    return scans[0]
