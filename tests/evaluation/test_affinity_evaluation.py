"""lean3d evaluate on a run of affinities whose network needs no training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lean3d.data import Neurites
from lean3d.errors import LeanError
from lean3d.metrics import instance_scores
from lean3d.recipes import get_recipe
from lean3d.recipes.evaluation import Settings, evaluate
from lean3d.recipes.runs import run

tifffile = pytest.importorskip("tifffile")
pytest.importorskip("bioimage_cpp")
NET = Path(__file__).parents[1] / "cli" / "neuron_net.py"
SHAPE = (16, 32, 36)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    raw, labels = Neurites(shape=SHAPE, seed=5).draw((0, 0, 0), SHAPE)
    tifffile.imwrite(folder / "raw.tif", raw)
    tifffile.imwrite(folder / "ids.tif", labels)
    small = dict(patch=(4, 16, 16), widths=None, train_samples=1, val_samples=1, epochs=1, lr=0.0)
    files = dict(data=str(folder / "raw.tif"), labels=str(folder / "ids.tif"), held_out=0.5)
    files |= dict(voxel_nm=(10.0, 10.0, 10.0))
    model = dict(model=f"{NET}:BrightNet", options=(), batch_size=1)
    for name, seed in (("run", 0), ("other", 1)):
        recipe = replace(get_recipe("em_short"), **files | small | model, seed=seed)
        run(recipe, folder / name, progress=False)
    return folder


def test_scores_the_held_out_sections_at_every_threshold(home):
    said = []
    result = evaluate(home / "run", against=home / "other", tell=said.append)
    assert [row["threshold"] for row in result.summary] == [f"0.{n}" for n in range(1, 10)]
    ((name, scored),) = result.scored.items()
    assert name == "raw.tif"
    best = min(scored.rows, key=lambda row: row["vi"])
    with np.load(result.out / "predictions" / "raw.tif.npz") as stored:
        found = stored["label"]
    truth = tifffile.imread(home / "ids.tif")[8:]
    assert found.shape == truth.shape
    expected = instance_scores(found, truth)
    assert best["vi"] == pytest.approx(expected.vi)
    assert best["arand"] == pytest.approx(expected.arand)
    page = (result.out / "report.html").read_text()
    assert "VI split" in page
    assert "The worst merges" in page or "The worst splits" in page
    assert result.comparison
    # as it is in the table, though a lower one is better
    assert f"raw.tif  VI {best['vi']:.3f}  (" in said[1]


def test_labels_are_those_of_other_data(home, tmp_path):
    for name, cut in (("raw", slice(0, 6)), ("ids", slice(0, 6))):
        tifffile.imwrite(tmp_path / f"{name}.tif", tifffile.imread(home / f"{name}.tif")[cut])
    raw, ids = str(tmp_path / "raw.tif"), str(tmp_path / "ids.tif")
    out = tmp_path / "out"
    result = evaluate(home / "run", data=raw, out=out, settings=Settings(labels=ids))
    (scored,) = result.scored.values()
    best = min(scored.rows, key=lambda row: row["vi"])
    with np.load(out / "predictions" / "raw.tif.npz") as stored:
        expected = instance_scores(stored["label"], tifffile.imread(ids))
    assert best["vi"] == pytest.approx(expected.vi)
    with pytest.raises(LeanError, match=r"needs the labels of .*; pass --labels"):
        evaluate(home / "run", data=raw)
    with pytest.raises(LeanError, match="--labels are those of --data"):
        evaluate(home / "run", settings=Settings(labels=ids))
