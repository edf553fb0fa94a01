"""LIDC-IDRI, as the authors of ACS cut it: Yang et al., arXiv:1911.10477, Sec 4.2.

DIR/nodule/ID.npz holds `voxel` and `answer1` to `answer4`, the masks of up to four experts;
DIR/train_test_split.csv the columns `train` and `test`; DIR/info/*.csv the columns `index` and
`malignancy_mode`, 1 (benign) to 5 (malignant).
"""

from collections.abc import Iterator
from pathlib import Path

from lean3d.data.layouts.registry import Found, Item, register_layout
from lean3d.data.layouts.tables import read_table
from lean3d.errors import DataError

__all__ = ["lidc"]

# levels of malignancy -> class; level 3 is uncertain, and left out of classification
CLASSES = {"1": 0, "2": 0, "4": 1, "5": 1}


@register_layout
def lidc(folder: Path) -> Found:
    """LIDC-IDRI's nodules of ACS: nodule/ID.npz, train_test_split.csv, info/*.csv"""
    malignancy = _malignancy(folder)
    items = []
    for name, split in _split(folder):
        path = folder / "nodule" / name
        if not path.is_file():
            raise DataError(f"{folder}/train_test_split.csv names {path}, which is not there")
        level = malignancy.get(path.stem)
        target = (CLASSES[level],) if level in CLASSES else None
        image, mask = Path(f"{path}:voxel"), Path(f"{path}:answer1")
        items.append(Item(path.stem, image, mask, target, "train" if split == "train" else "test"))
    ordered = tuple(sorted(items, key=lambda item: item.name))
    return Found(ordered, ("background", "nodule"), target_names=("benign", "malignant"))


def _split(folder: Path) -> Iterator[tuple[str, str]]:
    for row in read_table(folder / "train_test_split.csv", "train", "test"):
        yield from ((row[split], split) for split in ("train", "test") if row[split])


def _malignancy(folder: Path) -> dict[str, str]:
    """Level of malignancy by nodule; empty if there is no table."""
    tables = sorted((folder / "info").glob("*.csv"))
    if not tables:
        return {}
    rows = read_table(tables[0], "index", "malignancy_mode")
    return {row["index"]: row["malignancy_mode"].removesuffix(".0") for row in rows}
