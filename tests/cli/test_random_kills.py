"""SIGKILL and SIGTERM at 20 random moments of every long command, and what is left of it."""

import json
import random
import shutil
import signal
from pathlib import Path

import pytest
import torch
from cli_cases import save
from random_kills import Command
from test_cli_stream import NET, film

from lean3d.data import Neurites
from lean3d.recipes.runs import load_run
from lean3d.train.checkpoints import load_checkpoint

MOMENTS = 20
CLOCK = {"seconds", "train_seconds", "peak_memory_mib"}
CLIPS = "--clip", 6, "--video", 8, "--train-samples", 8, "--val-samples", 8, "--batch-size", 4
SMALL = "--train-samples", 4, "--val-samples", 2, "--batch-size", 2
TRAIN = {
    "segmentation": ("folder", "--data", "data", "--patch", 8, 8, 8, "--widths", 4, 6, *SMALL),
    "clips": ("digits", *CLIPS, "--widths", 4, 4, 4, 4, "--options", "window=4"),
    "turns": ("digits_turns", *CLIPS, "--widths", 4, 4, "--turn", 2),
    "head": ("digits_gru", *CLIPS, "--widths", 4, 4, 4, 4, "--videos", 8, "--shortest", 4),
}
TRAIN["segmentation"] += "--schedule", "plateau"
TRAIN["head"] += "--start-from", "first", "--options", "head=gru", "layers=1", "hidden=6"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with volumes, a film and a trained run of clips."""
    monkeypatch.chdir(tmp_path)
    generator = torch.Generator().manual_seed(0)
    for case in range(3):
        label = torch.zeros(10, 12, 8)
        label[3:8, 4:9, 2:6] = 1
        image = label + torch.randn(label.shape, generator=generator)
        save(tmp_path / "data" / "images" / f"{case}.nii.gz", image.numpy())
        save(tmp_path / "data" / "labels" / f"{case}.nii.gz", label.byte().numpy())
    film(tmp_path / "film.mp4", frames=60)
    return tmp_path


def moments(command, seconds):
    """A signal and a moment, as often as asked; the same ones in every run of the tests."""
    draw = random.Random(str(command))
    for n in range(MOMENTS):
        yield (signal.SIGKILL, signal.SIGTERM)[n % 2], draw.uniform(0, seconds)


def done(argv, place, **kwargs):
    code, seconds, said = Command(argv, place / "said.txt", **kwargs).end()
    assert code == 0, said
    return seconds


def hit(argv, place, number, moment, **kwargs):
    """Kill a command at a moment; whether it had ended before."""
    code, _, said = Command(argv, place / "said.txt", **kwargs).kill(number, moment)
    if code == 0:
        return True
    # the very beginning of a process has no handler yet
    assert code in ([-9] if number == signal.SIGKILL else [128 + number, -number]), said
    if code > 0:
        assert said.splitlines()[-1].startswith("lean3d: stopped by SIGTERM; "), said
        assert "Traceback" not in said
    return False


def hidden(folder):
    return [path.name for path in folder.rglob(".*")] if folder.exists() else []


def outcome(folder):
    told = json.loads((folder / "metrics.json").read_text())
    rows = [{k: v for k, v in row.items() if k not in CLOCK} for row in told["epochs"]]
    last = load_checkpoint(folder / "checkpoints" / "last.ckpt")
    states = {name: last[name] for name in ("optimizer_states", "lr_schedulers")}
    weights = [load_run(folder, which)[0].state_dict() for which in ("best", "last")]
    return told["finished"], told["best_epoch"], rows, states, weights


def same(left, right):
    if torch.is_tensor(left):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(v, right[k]) for k, v in left.items())
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


def assert_resumes(asked, place):
    """Killed at any moment, the command goes on to the run folder of one that was not."""
    whole, killed = place / "whole", place / "killed"
    seconds = done((*asked, "--out", whole), place)
    expected = outcome(whole)
    for number, moment in moments(asked, seconds):
        shutil.rmtree(place / "first" / "features", ignore_errors=True)
        if not hit((*asked, "--out", killed), place, number, moment):
            if number == signal.SIGTERM:
                assert hidden(place) == []
            resume = ["--resume"] if killed.exists() else []
            done((*asked, "--out", killed, *resume), place)
        assert same(outcome(killed), expected), (number, moment)
        assert hidden(killed) == []
        shutil.rmtree(killed)


@pytest.mark.slow
@pytest.mark.parametrize("kind", TRAIN)
def test_training_that_is_killed_resumes_to_the_run_that_was_never_stopped(place, kind):
    if kind == "head":
        done(("train", *TRAIN["clips"], "--epochs", 1, "--out", "first"), place)
    asked = "train", *TRAIN[kind], "--num-classes", 2, "--epochs", 6, "--accelerator", "cpu"
    if kind != "segmentation":
        asked = "train", *TRAIN[kind], "--epochs", 6, "--accelerator", "cpu"
    assert_resumes(asked, place)


@pytest.mark.slow
def test_a_demo_that_is_killed_resumes_to_the_table_it_would_have_given(place):
    def table(said):
        rows = json.loads(said.splitlines()[-1])
        return [{k: v for k, v in r.items() if k not in ("s per epoch", "peak MiB")} for r in rows]

    asked = "demo", "--out"
    seconds = done((*asked, place / "whole"), place, tiny_demo=True)
    expected = table((place / "said.txt").read_text())
    killed = place / "killed"
    for number, moment in moments(asked, seconds):
        if not hit((*asked, killed), place, number, moment, tiny_demo=True):
            done((*asked, killed, "--resume"), place, tiny_demo=True)
        assert table((place / "said.txt").read_text()) == expected, (number, moment)
        assert hidden(killed) == []
        shutil.rmtree(killed)


def trained(place):
    train = "train", *TRAIN["segmentation"], "--num-classes", 2, "--accelerator", "cpu"
    done((*train, "--epochs", 1, "--out", "run"), place)


@pytest.mark.slow
def test_a_lighter_run_that_is_killed_resumes_to_the_one_that_was_never_stopped(place):
    train = "train", "shapes3d", "--widths", 8, 16, *SMALL, "--epochs", 1, "--out", "run"
    done((*train, "--accelerator", "cpu"), place)
    asked = "lighten", "run", "--macs", 0.5, "--cuts", "channels", "--samples", 1, "--epochs", 3
    asked += "--accelerator", "cpu"
    assert_resumes(asked, place)


@pytest.mark.slow
def test_an_evaluation_that_is_killed_goes_on_to_the_same_scores(place):
    trained(place)
    asked = "evaluate", "run", "--overlap", 0.9, "--data", "data"
    seconds = done((*asked, "--out", "whole"), place)
    files = "scores.csv", "summary.json"

    def found(name):
        return [(place / name / file).read_text().replace(f"{name}/", "") for file in files]

    expected, killed = found("whole"), place / "killed"
    for number, moment in moments(asked, seconds):
        if not hit((*asked, "--out", "killed"), place, number, moment):
            done((*asked, "--out", "killed"), place)
        assert found("killed") == expected, (number, moment)
        assert hidden(killed) == []
        shutil.rmtree(killed)


@pytest.mark.slow
def test_a_segmentation_that_is_killed_goes_on_to_the_same_neurons(place):
    pytest.importorskip("bioimage_cpp")
    tifffile, zarr = pytest.importorskip("tifffile"), pytest.importorskip("zarr")
    raw, labels = Neurites(shape=(24, 48, 48), seed=5).draw((0, 0, 0), (24, 48, 48))
    tifffile.imwrite(place / "raw.tif", raw)
    tifffile.imwrite(place / "ids.tif", labels)
    net = Path(__file__).parent / "neuron_net.py"
    # the weights are right before training, so nothing is learnt
    train = "train", "em_short", "--data", "raw.tif", "--labels", "ids.tif", "--lr", 0.0
    train += "--model", f"{net}:BrightNet", "--options", "--patch", 8, 16, 16, "--widths", None
    train += "--train-samples", 1, "--val-samples", 1, "--epochs", 1, "--batch-size", 1
    done((*train, "--voxel-nm", 10, 10, 10, "--accelerator", "cpu", "--out", "run"), place)
    asked = "segment", "run", "raw.tif", "--thresholds", 0.3, 0.6, "--block", 8, 24, 24
    asked += "--tile", 8, 16, 16
    seconds = done((*asked, "--out", "whole.zarr"), place)

    def found(out):
        return zarr.open_array(out / "0", mode="r")[:]

    expected, killed = found(place / "whole.zarr"), place / "killed.zarr"
    assert expected.max() > 1
    for number, moment in moments(asked, seconds):
        if not hit((*asked, "--out", killed), place, number, moment):
            done((*asked, "--out", killed), place)
        assert (found(killed) == expected).all(), (number, moment)
        assert [path.name for path in place.glob("killed*")] == ["killed.zarr"]
        shutil.rmtree(killed)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["stream", "predict", "export"])
def test_a_command_that_writes_a_file_leaves_the_whole_file_or_none(place, what):
    if what == "predict":
        trained(place)
        asked = "predict", "data/images/0.nii.gz", "--run", "run", "--out", "out/mask.nii.gz"
        asked += "--overlap", 0.9
    elif what == "export":
        trained(place)
        asked = "export", "run", "--out", "out/net.onnx"
    else:
        asked = "stream", NET[0], "film.mp4", *NET[1:], "--json", "--out", "out/seen.mp4"
    out = place / "out"
    out.mkdir()
    seconds = done(asked, place)
    (file,) = out.iterdir()
    size = file.stat().st_size
    for number, moment in moments(asked, seconds):
        file.unlink()
        if not hit(asked, place, number, moment):
            left = {path.name for path in out.iterdir()}
            assert left <= {file.name} or number == signal.SIGKILL, (left, moment)
            done(asked, place)
        assert file.stat().st_size == pytest.approx(size, rel=0.01)
        for path in out.glob(".*"):
            path.unlink()
