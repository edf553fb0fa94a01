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


FILES = ["recipe.json", "metrics.json", "metrics.csv"]
FILES += ["checkpoints/last.ckpt", "checkpoints/best.ckpt"]
OTHERS = {
    "a folder": lambda path: path.mkdir(),
    "a link to nothing": lambda path: path.symlink_to(path.name),
    "a device or a pipe": os.mkfifo,
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", OTHERS)
def test_something_else_in_the_place_of_a_file_is_refused(tmp_path, name, kind):
    (tmp_path / "checkpoints").mkdir()
    OTHERS[kind](tmp_path / name)
    with pytest.raises(RunError, match=f"{name} is {kind}, not a file"), run_folder(tmp_path):
        pytest.fail("the run began")


@pytest.mark.skipif(os.getuid() == 0, reason="everything can be read as root")
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_read_is_refused(tmp_path, name):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / name).write_bytes(b"")
    (tmp_path / name).chmod(0)
    with pytest.raises(RunError, match=f"{name} cannot be read"), run_folder(tmp_path):
        pytest.fail("the run began")
