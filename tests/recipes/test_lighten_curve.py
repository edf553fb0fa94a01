"""Scores against measured time."""

import csv
import json
import shutil
from dataclasses import replace

import pytest

from lean3d.errors import RunError
from lean3d.recipes import get_recipe
from lean3d.recipes.lighten import Lighter
from lean3d.recipes.lighten_curve import _percent, _timed, lighten_curve
from lean3d.recipes.runs import run
from lean3d.report.trade_off import Measured, draw_trade_off

QUIET = dict(accelerator="cpu", progress=False)


@pytest.mark.slow
def test_a_curve_has_a_point_for_each_target_and_the_run_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("LEAN3D_CACHE", str(tmp_path / "cache"))
    small = dict(widths=(16, 32), train_samples=4, val_samples=2, epochs=1, batch_size=2)
    run(replace(get_recipe("shapes3d"), **small), tmp_path / "run", **QUIET)
    how = Lighter(cuts=("channels",), epochs=1, samples=1, batch=2, backends=("channels_last",))
    batches = []

    def timed(model, example, names):
        batches.append(len(example))
        return _timed(model, example, names)

    monkeypatch.setattr("lean3d.recipes.lighten_curve._timed", timed)
    out = tmp_path / "curve"
    found = lighten_curve(tmp_path / "run", out, how, [0.9, 0.01], **QUIET)
    assert batches == [2]
    assert [row["line"] for row in found.rows[-1:]] == ["mixture"]
    assert {"the run", "the run, fused", "the run by channels_last"} <= {
        row["line"] for row in found.rows
    }
    assert found.rows[-1]["share"] < 0.95
    assert len(found.refused) == 1
    assert "the least that can be asked for is time=" in found.refused[0]
    assert json.loads((out / "curve.json").read_text())["points"] == json.loads(
        json.dumps(found.rows)
    )
    assert {path.name for path in out.glob("curve.*")} == {
        f"curve.{kind}" for kind in ("json", "csv", "png", "svg")
    }
    before = (out / "mixture_090" / "metrics.json").stat().st_mtime_ns
    again = lighten_curve(tmp_path / "run", out, how, [0.9], **QUIET)
    assert (out / "mixture_090" / "metrics.json").stat().st_mtime_ns == before
    assert again.rows[-1] == found.rows[-1]
    with (out / "curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["line"] for row in rows] == [row["line"] for row in again.rows]
    assert rows[0]["predicted"] == ""
    # a slower machine: twice the time of the run and of the lighter network
    slower = out / "mixture_080"
    shutil.copytree(out / "mixture_090", slower)
    record = json.loads((slower / "recipe.json").read_text())
    record["lighten"]["time"] = 0.8
    for name in ("before", "measured", "predicted"):
        record["lightening"][name] *= 2
    (slower / "recipe.json").write_text(json.dumps(record))
    *_, one, other = lighten_curve(tmp_path / "run", out, how, [0.9, 0.8], **QUIET).rows
    assert other["ms"] == pytest.approx(one["ms"])
    with pytest.raises(RunError, match="was begun with cuts"):
        lighten_curve(tmp_path / "run", out, replace(how, cuts=("time",)), [0.9], **QUIET)


@pytest.mark.parametrize(
    ("share", "name"), [(1, "100"), (0.5, "050"), (0.125, "012.5"), (0.999, "099.9")]
)
def test_a_folder_is_named_by_the_whole_share(share, name):
    assert _percent(share) == name


def test_a_curve_has_no_other_target(tmp_path):
    with pytest.raises(RunError, match="shares of the time; leave out macs"):
        lighten_curve(tmp_path, tmp_path / "out", Lighter(macs=0.5), [0.5])


@pytest.mark.parametrize("targets", [[], [0.5, 2], [0]])
def test_targets_of_a_curve_are_shares(targets, tmp_path):
    with pytest.raises(RunError, match="targets above 0 and at most 1"):
        lighten_curve(tmp_path, tmp_path / "out", Lighter(), targets)


def test_the_figure_has_a_line_for_each_way():
    points = [Measured("mixture", 5, 0.8), Measured("mixture", 9, 0.9), Measured("run", 12, 0.9)]
    (axes,) = draw_trade_off(points, "Dice", "mixture").axes
    assert [line.get_label() for line in axes.lines] == ["mixture", "run"]
    assert axes.lines[0].get_linewidth() > axes.lines[1].get_linewidth()
    assert list(axes.lines[0].get_xdata()) == [5, 9]
    with pytest.raises(RunError, match="times above 0"):
        draw_trade_off([Measured("run", 0, 0.9)], "Dice")
