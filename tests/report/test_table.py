import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from lean3d.report import format_table, json_line

ROWS = [
    {"model": "2.5D", "dice": 0.8125, "params": 389286, "seconds": 12.25},
    {"model": "3D", "dice": float("nan"), "params": 1164582, "seconds": 104.5},
]


def test_columns_are_aligned_numbers_to_the_right():
    assert format_table(ROWS).splitlines() == [
        "model    dice     params  seconds",
        "---------------------------------",
        "2.5D   0.8125    389,286     12.2",
        "3D          -  1,164,582    104.5",
    ]


def test_columns_can_be_chosen_and_named():
    head, _, first, _ = format_table(ROWS, {"seconds": "time (s)", "model": "net"}).splitlines()
    assert head.split("  ") == ["time (s)", "net"]
    assert first.split() == ["12.2", "2.5D"]
    assert format_table(ROWS, ["dice"]).splitlines()[0].strip() == "dice"


def test_a_key_only_some_rows_have_is_a_column_all_the_same():
    lines = format_table([{"a": 1}, {"b": True}]).splitlines()
    assert [line.split() for line in lines if "--" not in line] == [
        ["a", "b"],
        ["1", "-"],
        ["-", "yes"],
    ]


def test_a_table_without_rows_is_its_header():
    assert format_table([], ["model", "dice"]).splitlines()[0] == "model  dice"


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), np.float64("nan"), torch.tensor(torch.nan)]
)
def test_json_has_null_for_what_is_no_number(value):
    assert json_line({"dice": value}) == '{"dice":null}'


def test_json_is_one_compact_line_of_plain_values():
    @dataclass
    class Result:
        path: Path
        scores: torch.Tensor

    rows = [{"best": np.int64(3), "text": "a\nb"}, Result(Path("runs/x"), torch.tensor([1.0, 2.0]))]
    line = json_line(rows)
    assert "\n" not in line
    assert ": " not in line
    assert json.loads(line) == [
        {"best": 3, "text": "a\nb"},
        {"path": "runs/x", "scores": [1.0, 2.0]},
    ]
