"""The comparison of PmSCn's U-Nets on neurons; the training itself takes minutes."""

from dataclasses import replace

import numpy as np
import pytest

from lean3d.recipes import get_recipe
from papers.pmscn import neurons

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
    assert neurons._row(neurons._thresholded(recipe))["rand_f"] > 0.8
