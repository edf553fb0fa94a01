import os

import pytest

from lean3d.errors import RunError
from lean3d.train.folder import run_folder


@pytest.mark.parametrize("name", ["checkpoints", "tensorboard"])
def test_a_file_or_a_link_in_the_place_of_a_folder_is_refused_before_anything_is_written(
    tmp_path, name
):
    (tmp_path / "file").write_text("")
    for target in ("file", "nowhere"):
        os.symlink(target, tmp_path / name)
        before = sorted(os.listdir(tmp_path))
        with pytest.raises(RunError, match=f"{name} is not a folder"), run_folder(tmp_path):
            pytest.fail("the run began")
        assert set(os.listdir(tmp_path)) - set(before) <= {".lock"}
        (tmp_path / name).unlink()


@pytest.mark.parametrize("name", ["recipe.json", "metrics.json", "metrics.csv"])
def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(RunError, match=f"{name} is a folder"), run_folder(tmp_path):
        pytest.fail("the run began")
