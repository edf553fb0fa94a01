"""Every number of CSN that needs no training, beside ours, and its study of blocks in two figures.

    python -m papers.csn

Definitions: multiply-adds of convolutions and linear layers at output positions; weights alone, no
batch norm, no bias; interactions of convolutions, conv1 and the shortcuts among them.
"""

from pathlib import Path

import torch

from lean3d.cost import Cost, count
from lean3d.models import create_model
from papers.csn.study import draw_study, study_points, write_points
from papers.rows import Row, report

FOLDER = Path(__file__).parent
NAMES = {"resnet3d": "ResNet3D", "ir_csn": "ir-CSN", "ip_csn": "ip-CSN", "r2plus1d": "R(2+1)D"}
TABLE_2 = {
    "resnet3d_26": ("14.3", "20.4", "0.42"),
    "ir_csn_26": ("4.0", "1.7", "0.27"),
    "ip_csn_26": ("5.0", "2.4", "0.42"),
    "resnet3d_50": ("29.5", "46.9", "5.68"),
    "ir_csn_50": ("10.6", "13.1", "5.42"),
    "ip_csn_50": ("11.9", "14.3", "5.68"),
    "resnet3d_101": ("44.7", "85.9", "8.67"),
    "ir_csn_101": ("14.1", "22.1", "8.27"),
    "ip_csn_101": ("15.9", "24.5", "8.67"),
}
# Tables 4 and 5: per crop, on (32, crop, crop) and that many classes
CROPS = (
    ("ir_csn_101", "Table 4", 224, 487, "56.5"),
    ("ip_csn_101", "Table 4", 224, 487, "63.6"),
    ("ir_csn_152", "Table 4", 224, 487, "74.0"),
    ("ip_csn_152", "Table 4", 224, 487, "83.3"),
    ("r2plus1d_34", "Table 4", 112, 487, "152"),
    ("ir_csn_101", "Table 5", 256, 400, "73.8"),
    ("ip_csn_101", "Table 5", 256, 400, "83.0"),
    ("ir_csn_152", "Table 5", 256, 400, "96.7"),
    ("ip_csn_152", "Table 5", 256, 400, "108.8"),
    ("r2plus1d_152", "Table 5", 128, 400, "329"),
)


def table_2() -> list[Row]:
    """ResNet3D, ir-CSN and ip-CSN at three depths: 27 numbers."""
    return [row for name in TABLE_2 for row in _table_2(name)]


def crops() -> list[Row]:
    """The FLOPs per crop of Tables 4 and 5: 10 numbers."""
    return [_crop(*crop) for crop in CROPS]


def _table_2(name: str) -> list[Row]:
    cost = _cost(name, (1, 3, 8, 224, 224), 400)
    flops, params, pairs = TABLE_2[name]
    where = f"{_title(name)}, Table 2"
    return [
        Row(where, "FLOPs", flops, cost.macs / 1e9, "GMACs"),
        Row(where, "params", params, cost.weights / 1e6, "M weights"),
        Row(where, "interactions", pairs, cost.interactions / 1e9, "G pairs"),
    ]


def _crop(name: str, table: str, crop: int, classes: int, published: str) -> Row:
    cost = _cost(name, (1, 3, 32, crop, crop), classes)
    note = f"32x{crop}x{crop}" + (", no pool1" if name.startswith("r2plus1d") else "")
    title = f"{_title(name)}, {table}"
    return Row(title, "FLOPs per crop", published, cost.macs / 1e9, "GMACs", note)


def _cost(name: str, shape: tuple[int, ...], classes: int) -> Cost:
    with torch.device("meta"):
        model = create_model(name, num_classes=classes)
    return count(model, shape, profile="csn")


def _title(name: str) -> str:
    family, _, depth = name.rpartition("_")
    return f"{NAMES[family]}-{depth}"


def main() -> None:
    report(table_2() + crops(), FOLDER)
    points = study_points()
    write_points(points, FOLDER / "study.csv")
    draw_study(points, FOLDER / "study")
    print(f"wrote {FOLDER / 'study.csv'}, study.svg and study.png: {len(points)} networks")
