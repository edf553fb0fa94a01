"""The comparison of PmSCn's U-Nets on neurons; the training itself takes minutes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lean3d.data import Neurites
from lean3d.recipes import get_recipe
from papers.pmscn import neurons
from papers.pmscn.isbi_text import draw, section
from papers.results import Results

tifffile = pytest.importorskip("tifffile")


def test_a_threshold_of_the_raw_image_finds_bright_cells(tmp_path):
    cells = np.zeros((6, 40, 40), np.uint8)
    cells[:, 2:18, 2:18] = cells[:, 22:38, 2:38] = 255
    noise = np.random.default_rng(0).normal(0, 10, cells.shape)
    raw = (np.where(cells, 180, 60) + noise).clip(0, 255).astype(np.uint8)
    tifffile.imwrite(tmp_path / "raw.tif", raw)
    tifffile.imwrite(tmp_path / "labels.tif", cells)
    files = dict(data=str(tmp_path / "raw.tif"), labels=str(tmp_path / "labels.tif"))
    recipe = replace(
        get_recipe("em_sections"), **files, membranes=True, held_out=0.5, voxel_nm=(1.0, 1.0, 1.0)
    )
    labels, scores = neurons.thresholded(recipe)
    assert scores.rand_f > 0.8
    assert labels.shape == (3, 40, 40)


def test_the_section_and_the_sentence_below_it_are_those_of_the_results():
    home = Path(neurons.__file__).parent
    results = Results(home / "isbi.json", neurons.SMALL)
    assert section(results) in (home / "README.md").read_text()
    vi = {e["name"]: e["vi_split"] + e["vi_merge"] for e in results.entries}
    steps = {e["name"]: e.get("steps") for e in results.entries}
    assert vi["3D from the 2D U-Net"] < vi["2D U-Net, longer"] < vi["3D U-Net"] < vi["raw image"]
    assert steps["3D from the 2D U-Net"] == steps["2D U-Net, longer"]
    assert sum(e.get("seconds", 0) for e in results.entries) < 30 * 60


def test_a_held_out_section_is_drawn(tmp_path):
    volume = Neurites(shape=(3, 20, 24)).volume()
    draw(volume, {"2D U-Net": volume.label.numpy()}, tmp_path / "a.jpg")
    assert (tmp_path / "a.jpg").stat().st_size > 1000
