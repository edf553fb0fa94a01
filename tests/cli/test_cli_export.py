import pytest
import torch
from cli_cases import last_json

from lean3d.runtime import load_optimized

NARROW = ["--widths", "8", "8", "16", "16", "--num-classes", "5", "--options", "window=4"]


@pytest.mark.parametrize("suffix", [pytest.param("pt2", marks=pytest.mark.slow), "onnx"])
def test_writes_a_step_and_says_what_it_checked(lean3d, tmp_path, suffix):
    out = tmp_path / f"step.{suffix}"
    code, said, _ = lean3d("export", "d_resnet_18", *NARROW, "--size", 32, "--out", out)
    assert code == 0
    record = last_json(said)
    assert record["bytes"] == out.stat().st_size
    assert record["largest_difference"] < 1e-4
    assert record["inputs"][:3] == ["frames", "state.t", "state.stem.0.past"]
    assert record["frames"] == [3, 1, 32, 32]


@pytest.mark.slow
def test_a_conventional_model_is_exported_by_waiting(lean3d, refused, tmp_path):
    model = ["export", "resnet3d_18", "--widths", "8", "8", "8", "8", "--out", tmp_path / "a.pt2"]
    assert "looks ahead" in refused(*model, "--size", 32)
    code, said, _ = lean3d(*model, "--size", 32, "--wait")
    assert code == 0
    assert last_json(said)["delay"] > 0


def test_the_fastest_network_is_written_into_a_folder(lean3d, refused, tmp_path):
    out = tmp_path / "fast"
    net = "export", "unet3d", "--widths", 4, 6, "--input", "1,1,8,8,8", "--out", out
    code, said, _ = lean3d(*net, "--optimized", "--backends", "onednn")
    assert code == 0
    record = last_json(said)
    assert (record["backend"], set(record["files"])) == (
        "onednn",
        {"network.pt2", "optimized.json"},
    )
    loaded = load_optimized(out)
    assert loaded.backend == "onednn"
    assert loaded(torch.randn(2, 1, 8, 12, 8)).shape[2:] == (8, 12, 8)
    assert "exists; give the name of a new folder" in refused(*net, "--optimized")
    assert "--precision is for --optimized" in refused(*net, "--precision", "int8")
    assert "--budget-s is for --optimized" in refused(*net, "--budget-s", 3)


def test_the_fastest_step_is_written_into_a_folder(lean3d, tmp_path):
    out = tmp_path / "fast"
    net = "export", "d_resnet_18", "--widths", 4, 4, 4, 4, "--size", 32, "--out", out
    code, said, _ = lean3d(*net, "--what", "step", "--optimized", "--backends", "onednn")
    assert code == 0
    record = last_json(said)
    assert (record["backend"], record["input"]) == ("onednn", [1, 3, 1, 32, 32])
    assert set(record["files"]) == {"optimized.json", "stream.pt"}
    fast = load_optimized(out)
    answer, state = fast.step(torch.rand(2, 3, 32, 32), fast.init(2))
    assert len(answer) == len(state["t"]) == 2
