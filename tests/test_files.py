import errno
import os
import resource
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lean3d.errors import DataError
from lean3d.files import check_outputs, write_between, write_text, write_whole

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


def test_a_link_is_followed_and_stays(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "dangling").symlink_to("new")
    write_text(tmp_path / "link", "one")
    write_text(tmp_path / "dangling", "two")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "dangling").is_symlink()
    assert (tmp_path / "real").read_text() == "one"
    assert (tmp_path / "new").read_text() == "two"


def test_a_link_to_itself_is_one_sentence(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(DataError, match=r"cannot write .*loop: Too many levels"):
        write_text(tmp_path / "loop", "x")
    with pytest.raises(DataError, match=r"cannot write .*loop: Too many levels"):
        check_outputs({"--json": tmp_path / "loop"})


def test_a_pipe_is_written_to_and_stays(tmp_path):
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "x" * 100_000)
    reader.join()
    assert got == ["x" * 100_000]
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_pipe_that_no_program_reads_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("lean3d.files.PATIENCE", 0.1)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match=r"cannot write .*pipe: no program reads it"):
        write_text(tmp_path / "pipe", "x")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="not root")
def test_a_device_is_written_to_and_stays(tmp_path):
    device = tmp_path / "null"
    os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    write_text(device, "x")
    assert stat.S_ISCHR(device.lstat().st_mode)
    os.mknod(tmp_path / "disk", 0o666 | stat.S_IFBLK, os.makedev(7, 250))
    with pytest.raises(DataError, match="it is a disk"):
        check_outputs({"--out": tmp_path / "disk"})


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_stdout_by_name_is_written_to_even_where_it_is_a_file(tmp_path, name):
    (tmp_path / "link").symlink_to("/dev/stdout")
    out = tmp_path / "out"
    code = (
        "import sys; from lean3d.files import write_text; print('a'); write_text(sys.argv[1], 'b')"
    )
    with out.open("w") as file:
        command = [sys.executable, "-c", f"{code}; print('c')", name]
        subprocess.run(command, stdout=file, check=True, cwd=tmp_path)
    assert out.read_text() == "a\nbc\n"


def test_a_file_keeps_its_permissions(tmp_path):
    (tmp_path / "a").write_text("x")
    (tmp_path / "a").chmod(0o640)
    write_text(tmp_path / "a", "y")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_the_longest_names_are_written(tmp_path):
    for name in ("ä" * 127, "a." * 127, "b" * 248 + ".nii.gz"):
        write_text(tmp_path / name, "x")
        assert (tmp_path / name).read_text() == "x"


def test_a_library_that_fails_on_a_full_disk_in_its_own_words_is_understood(tmp_path, monkeypatch):
    def write():
        with write_whole(tmp_path / "a.pt2"):
            raise RuntimeError("unexpected pos 4096 vs 3988")

    with pytest.raises(RuntimeError, match="unexpected pos"):
        write()

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"cannot write .*/a\.pt2: No space left on device"):
        write()
    assert os.listdir(tmp_path) == []


def test_what_a_writer_says_names_the_file(tmp_path):
    def write():
        with write_whole(tmp_path / "a.onnx") as temporary:
            raise DataError(f"{temporary} and {temporary.name} are wrong")

    with pytest.raises(DataError, match=rf"^{tmp_path}/a\.onnx and a\.onnx are wrong$"):
        write()


@pytest.fixture
def source(tmp_path):
    (tmp_path / "source").write_text("x")
    return tmp_path / "source"


@pytest.mark.parametrize("kind", ["same", "dots", "link", "hard link"])
def test_no_output_replaces_a_source(tmp_path, source, kind):
    out = tmp_path / "out"
    if kind == "link":
        out.symlink_to(source)
    elif kind == "hard link":
        out.hardlink_to(source)
    else:
        out = source if kind == "same" else tmp_path / "x" / ".." / "source"
        (tmp_path / "x").mkdir()
    with pytest.raises(DataError, match=r"--out .* is the image itself"):
        check_outputs({"--out": out}, {"image": [tmp_path / "other", source]})
    check_outputs({"--out": tmp_path / "free"}, {"image": [source]})


def test_two_outputs_are_two_files(tmp_path):
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(DataError, match="--csv and --json are both"):
        check_outputs({"--json": tmp_path / "a", "--csv": tmp_path / "link"})
    check_outputs({"--json": Path("/dev/null"), "--csv": Path("/dev/null")})


@pytest.mark.parametrize(
    ("name", "message"),
    [(".", "is a folder"), ("no/a", "there is no folder"), ("a/b", "no folder|Not a directory")],
)
def test_an_output_that_cannot_be_is_refused_before_anything_is_written(tmp_path, name, message):
    (tmp_path / "a").write_text("x")
    with pytest.raises(DataError, match=message):
        check_outputs({"--csv": tmp_path / "fine", "--json": tmp_path / name})
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="no folder that nobody can write")
def test_a_folder_that_cannot_be_written_is_refused():
    with pytest.raises(DataError, match="cannot write /sys/kernel/a"):
        check_outputs({"--json": Path("/sys/kernel/a")})
