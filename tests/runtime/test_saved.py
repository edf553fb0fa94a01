"""An optimised network is saved in a folder, and loaded without its code or any measuring."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from torch import nn

from lean3d import LeanError, optimize
from lean3d.ops import ACSConv3d
from lean3d.runtime import BACKENDS, load_optimized, register_backend, save_optimized

SIZE = 2, 1, 8, 9, 10
slow = pytest.mark.slow


def net():
    torch.manual_seed(0)
    layers = ACSConv3d(1, 8, 3, padding=1), nn.BatchNorm3d(8), nn.ReLU(), nn.Conv3d(8, 4, 3)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3)).eval()


def drawn(seed, *sizes):
    return torch.randn(sizes or SIZE, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "fast"
    fast = optimize(net(), drawn(0), backends=["onednn"])
    assert save_optimized(fast, folder) == folder
    return folder, fast


CODE = """
import sys, torch
from lean3d.runtime import load_optimized
fast = load_optimized(sys.argv[1])
given, expected = torch.load(sys.argv[2])
assert (fast.runner(given) - expected).abs().max() < 1e-5 * expected.abs().max()
print(fast.backend, len(fast.rows()))
"""


def test_another_process_runs_the_same_backend_at_once(saved, tmp_path):
    folder, fast = saved
    x = drawn(1)
    torch.save((x, fast(x)), tmp_path / "pair.pt")
    words = [sys.executable, "-c", CODE, folder, tmp_path / "pair.pt"]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    assert done.stdout.split() == ["onednn", "2"], done.stderr


def test_other_sizes_run_and_the_table_is_that_of_the_measurement(saved):
    folder, fast = saved
    loaded = load_optimized(folder)
    for x in drawn(2, 1, 1, 6, 12, 7), drawn(3, 4, 1, 8, 8, 8):
        torch.testing.assert_close(loaded(x), fast(x))
    assert [row["ms"] for row in loaded.rows()] == [row["ms"] for row in fast.rows()]
    assert loaded.eval().train().training is False
    assert not any(path.suffix in (".pkl", ".py") for path in folder.iterdir())


@pytest.mark.parametrize(
    "name",
    [
        "fused",
        pytest.param("eager", marks=slow),
        pytest.param("channels_last", marks=slow),
        pytest.param("onnxruntime", marks=slow),
        pytest.param("openvino", marks=slow),
        pytest.param("inductor", marks=slow),
    ],
)
def test_every_backend_is_loaded_as_it_was_saved(name, tmp_path):
    if name in ("onnxruntime", "openvino"):
        pytest.importorskip(name)
    fast = optimize(net(), drawn(0), backends=[name], budget_s=600)
    assert fast.backend == name
    save_optimized(fast, tmp_path / "fast")
    loaded = load_optimized(tmp_path / "fast")
    assert loaded.backend == name
    for x in drawn(4), drawn(5, 1, 1, 6, 8, 8):
        torch.testing.assert_close(loaded(x), fast(x), rtol=1e-4, atol=1e-5)


@slow
@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_int8_is_loaded_without_its_samples(name, tmp_path):
    pytest.importorskip("nncf" if name == "openvino" else name)
    given = [drawn(seed) for seed in range(6)]
    options = dict(precision="int8", calibration=given[1:], backends=[name], budget_s=600)
    fast = optimize(net(), given[0], **options)
    save_optimized(fast, tmp_path / "fast")
    loaded = load_optimized(tmp_path / "fast")
    assert (loaded.backend, loaded.precision) == (name, "int8")
    torch.testing.assert_close(loaded.runner(given[3]), fast.runner(given[3]))
    costs = [{row["backend"]: row["rms"] for row in one.rows()}[name] for one in (loaded, fast)]
    assert 0 < costs[0] == costs[1]


def test_a_folder_that_would_give_other_outputs_is_not_written(tmp_path):
    @register_backend("drawn again")
    def drawn_again(source):
        wrong = type(source.model).__name__ == "Network"
        return lambda x: source.model(x) + wrong

    try:
        fast = optimize(net(), drawn(0), backends=["drawn again"])
        fast.backend = "drawn again"
        with pytest.raises(LeanError, match="would differ by"):
            save_optimized(fast, tmp_path / "fast")
    finally:
        del BACKENDS.parts["drawn again"]
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_is_no_graph_is_refused_in_one_sentence(tmp_path):
    class Branch(nn.Module):
        def forward(self, x):
            return x * 2 if x.sum() > 0 else x

    fast = optimize(Branch(), drawn(0), backends=["fused"])
    with pytest.raises(LeanError, match="Branch cannot be saved as a graph") as refusal:
        save_optimized(fast, tmp_path / "fast")
    assert len(str(refusal.value)) <= 400
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(LeanError, match="takes what optimize returns"):
        save_optimized(nn.ReLU(), tmp_path / "fast")


def test_what_is_no_such_folder_is_refused(saved, tmp_path):
    with pytest.raises(LeanError, match="is no folder of an optimised network"):
        load_optimized(tmp_path)
    with pytest.raises(LeanError, match="exists; give the name of a new folder"):
        save_optimized(saved[1], tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(saved[0], copy)
    record = json.loads((copy / "optimized.json").read_text())
    damages = {"no backend called": {"backend": "gone"}, "is no folder of": {"precision": "int3"}}
    damages |= {"code compiled for a toaster": {"backend": "inductor", "hardware": "a toaster"}}
    for says, damage in damages.items():
        (copy / "optimized.json").write_text(json.dumps(record | damage))
        with pytest.raises(LeanError, match=says):
            load_optimized(copy)
    (copy / "optimized.json").write_text(json.dumps(record))
    (copy / "network.pt2").write_bytes(b"PK\x03\x04")
    with pytest.raises(LeanError, match=r"cannot read .*network.pt2"):
        load_optimized(copy)
