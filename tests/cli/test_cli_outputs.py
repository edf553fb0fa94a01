"""What a command writes goes where it was asked to go, over nothing that it reads."""

import json
import os
import resource
import stat
import subprocess
import sys
import threading

import pytest
import torch
from cli_cases import last_json

import lean3d as library

COUNT = "count", "unet3d", "--widths", 4, 8, "--input", "1,1,16,16,16"
FLAT = "unet2d", "--widths", 4, 8
STEP = "d_resnet_18", "--widths", 2, 2, 4, 4, "--size", 32
BENCH = ("bench", "d_resnet_18", "--against", "d_resnet_10", "--input", "1,3,4,32,32")


@pytest.fixture
def weights(tmp_path):
    torch.save(library.create_model("unet2d", widths=(4, 8)).state_dict(), tmp_path / "w.pt")
    return tmp_path / "w.pt"


def test_a_pipe_gets_the_json_and_stays_a_pipe(lean3d, tmp_path):
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(json.loads(pipe.read_text())))
    reader.start()
    code, out, _ = lean3d(*COUNT, "--json", pipe)
    reader.join()
    assert code == 0
    assert got[0]["macs"] == last_json(out)["macs"]
    assert stat.S_ISFIFO(pipe.lstat().st_mode)


@pytest.mark.parametrize(
    "flags", [("--csv", "a", "--json", "a"), ("--csv", "no/a"), ("--csv", ".")]
)
def test_outputs_are_checked_before_the_work(refused, tmp_path, monkeypatch, flags):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lean3d.cli.count.count", None)
    assert "--csv" in refused(*COUNT, *flags)
    assert os.listdir(tmp_path) == []


def test_weights_are_not_replaced_by_what_becomes_of_them(refused, weights, tmp_path):
    before = weights.read_bytes()
    (tmp_path / "link.pt").hardlink_to(weights)
    for out in (weights, tmp_path / "link.pt"):
        flags = "--weights", weights, "--format", "lean3d", "--out", out
        assert "is the --weights file itself" in refused("convert", *FLAT, "--how", "acs", *flags)
        assert "is the file itself" in refused("load", weights, "--out", out)
    assert weights.read_bytes() == before


def test_no_source_is_replaced_by_the_video_of_another(refused, tmp_path):
    (tmp_path / "1_a.mp4").write_text("x")
    (tmp_path / "a.mp4").write_text("y")
    sources = tmp_path / "a.mp4", tmp_path / "1_a.mp4"
    said = refused("stream", STEP[0], *sources, *STEP[1:], "--out", tmp_path)
    assert "1_a.mp4 is the video itself" in said
    assert sources[1].read_text() == "x"


FULL = """
import resource, signal, sys
from lean3d.cli.main import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no file size limit here")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["x.pt2", "x.onnx"])
def test_a_full_disk_leaves_no_part_of_an_export(tmp_path, name):
    words = [str(word) for word in ("export", *STEP, "--out", tmp_path / name)]
    run = subprocess.run([sys.executable, "-c", FULL, *words], capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1].startswith(f"lean3d: cannot write {tmp_path / name}: ")
    assert "Traceback" not in run.stderr
    assert os.listdir(tmp_path) == []


def test_an_export_that_is_wrong_is_not_written(lean3d, tmp_path, monkeypatch):
    monkeypatch.setattr("lean3d.cli.export.compare_export", lambda *args: float("nan"))
    code, _, err = lean3d("export", *STEP, "--out", tmp_path / "x.pt2")
    assert code == 2
    assert "x.pt2 would give outputs up to nan" in err
    assert os.listdir(tmp_path) == []
