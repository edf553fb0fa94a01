import errno
import os
import resource
import subprocess
import sys

import pytest

from lean3d.errors import DataError
from lean3d.files import write_between, write_text, write_whole

FILL = """
import resource, signal, sys
from lean3d.errors import DataError
from lean3d.files import write_text
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_text(sys.argv[1], "x" * 10_000)
except DataError as error:
    print(error)
"""


def test_writes_text_and_replaces_what_was_there(tmp_path):
    path = tmp_path / "a.json"
    write_text(path, "one")
    write_text(path, "two")
    assert path.read_text() == "two"
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_text("old")

    def fail():
        with write_whole(path) as temporary:
            assert temporary.name.endswith(".nii.gz")
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DataError, match=r"cannot write .*a\.nii\.gz: No space left.*nothing was"):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.nii.gz"]


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no file size limit here")
def test_a_disk_that_fills_up_is_one_sentence_and_the_old_file_stays(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    run = subprocess.run([sys.executable, "-c", FILL, path], capture_output=True, text=True)
    assert run.stdout.startswith(f"cannot write {path}: ")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=r"cannot write .*none/a\.txt: No such file"):
        write_text(tmp_path / "none" / "a.txt", "x")


def test_the_file_has_the_permissions_of_any_other_file(tmp_path):
    plain, ours = tmp_path / "plain", tmp_path / "ours"
    plain.write_text("x")
    write_text(ours, "x")
    assert ours.stat().st_mode == plain.stat().st_mode


def test_writes_between_its_markers_and_keeps_the_rest(tmp_path):
    path = tmp_path / "a.md"
    path.write_text("x\n<!-- t: begin -->\nold\n<!-- t: end -->\n<!-- u: end -->\n")
    write_between(path, "t", "new")
    assert path.read_text() == "x\n<!-- t: begin -->\nnew\n<!-- t: end -->\n<!-- u: end -->\n"


@pytest.mark.parametrize("text", [None, "", "<!-- t: end -->", "<!-- t: end --><!-- t: begin -->"])
def test_a_file_without_both_markers_is_left_alone(tmp_path, text):
    path = tmp_path / "a.md"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=r"a\.md"):
        write_between(path, "t", "new")
    assert not path.exists() if text is None else path.read_text() == text
