import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from killed_run import EPOCHS, train

from lean3d.errors import DataError, RunError
from lean3d.train.allocator import keep_freed_memory
from lean3d.train.checkpoints import load_checkpoint
from lean3d.train.history import History

SCRIPT = Path(__file__).with_name("killed_run.py")
SECONDS = {"seconds", "train_seconds", "peak_memory_mib"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbed: folder, trained task, results."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole")
    yield folder, *train(folder)
    torch.set_num_threads(threads)


def same_weights(left, right):
    right = right.state_dict()
    return all(torch.equal(value, right[name]) for name, value in left.state_dict().items())


def rows(folder):
    with (folder / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if k not in SECONDS} for row in csv.DictReader(file)]


@pytest.mark.parametrize("when", ["step", pytest.param("write", marks=pytest.mark.slow)])
def test_a_killed_run_resumes_to_the_same_weights_and_the_same_rows(whole, tmp_path, when):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    killed = subprocess.run([sys.executable, SCRIPT, tmp_path, when], env=environment)
    assert killed.returncode == -signal.SIGKILL
    assert (
        len(load_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["callbacks"]["History"]["rows"])
        == 2
    )
    model, results = train(tmp_path, resume=True)
    assert same_weights(model, whole[1])
    assert rows(tmp_path) == rows(whole[0])
    assert [row["epoch"] for row in results["epochs"]] == [1, 2, 3, 4]
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [
        "best.ckpt",
        "last.ckpt",
    ]


def test_the_seed_decides_the_weights(whole, tmp_path):
    assert not same_weights(train(tmp_path, seed=8)[0], whole[1])


def test_a_run_leaves_the_random_numbers_of_its_caller_alone(whole, tmp_path):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    train(tmp_path / "run", epochs=1)
    # the model is made inside train, with its own seed
    torch.manual_seed(0)
    assert torch.rand(1) == expected


def test_the_folder_holds_metrics_checkpoints_and_logs(whole):
    folder, _, results = whole
    assert json.loads((folder / "metrics.json").read_text()) == results
    assert results["finished"]
    assert len(rows(folder)) == EPOCHS
    assert results["best_val_dice"] == max(row["val_dice"] for row in results["epochs"])
    assert results["seconds_per_epoch"] > 0


@pytest.mark.parametrize("name", ["metrics.csv", "metrics.json"])
def test_a_disk_that_fills_is_one_sentence_whichever_file_meets_it(tmp_path, monkeypatch, name):
    sync, (begin, *_, end) = os.fsync, name.split(".")

    def full(handle):
        # a temporary name begins and ends like that of the file
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        if path.name.startswith(f".{begin}.") and path.name.endswith(f".{end}"):
            raise OSError(28, "No space left on device")
        sync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=rf"cannot write .*{name}: No space left on device"):
        train(tmp_path, epochs=1)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and name in path.name]


@pytest.mark.slow
def test_what_a_kill_left_half_written_goes_when_the_run_goes_on(tmp_path):
    train(tmp_path, epochs=1)
    left = [tmp_path / ".metrics.x1.csv", tmp_path / "checkpoints" / ".last.x3.ckpt"]
    for path in left:
        path.write_bytes(b"half")
    train(tmp_path, epochs=2, resume=True)
    assert not any(path.exists() for path in left)


def test_best_holds_the_weights_of_the_best_epoch_and_last_of_the_last(whole):
    folder, model, results = whole
    stored = {
        n: load_checkpoint(folder / "checkpoints" / f"{n}.ckpt", model) for n in ("best", "last")
    }
    assert stored["best"]["epoch"] + 1 == results["best_epoch"]
    assert stored["last"]["epoch"] + 1 == EPOCHS
    assert torch.equal(stored["last"]["state_dict"]["model.0.weight"], model.model[0].weight)


def test_a_used_folder_is_refused_and_kept(whole):
    before = {p: p.stat().st_mtime_ns for p in whole[0].rglob("*") if p.is_file()}
    with pytest.raises(RunError, match="--resume"):
        train(whole[0])
    assert before == {p: p.stat().st_mtime_ns for p in whole[0].rglob("*") if p.is_file()}


def test_resuming_a_finished_run_gives_its_results_and_weights(whole):
    folder, trained, results = whole
    model, again = train(folder, resume=True)
    assert again["epochs"] == results["epochs"]
    assert same_weights(model, trained)


@pytest.mark.parametrize("schedule", ["constant", pytest.param("plateau", marks=pytest.mark.slow)])
def test_more_epochs_can_be_asked_for_when_resuming(tmp_path, schedule):
    """Not with a cosine: a run of more epochs falls slower from the start."""
    begun, resumed = tmp_path / "begun", tmp_path / "resumed"
    learning = dict(schedule=schedule)
    at_once, _ = train(begun, learning=learning)
    train(resumed, learning=learning, epochs=2)
    model, _ = train(resumed, learning=learning, resume=True)
    assert same_weights(model, at_once)
    assert rows(resumed) == rows(begun)


def test_stops_early_and_stays_stopped(tmp_path, monkeypatch):
    from lean3d.tasks.segmentation import Segmentation

    monkeypatch.setattr(
        Segmentation, "configure_optimizers", lambda self: torch.optim.SGD(self.parameters(), 0.0)
    )
    _, results = train(tmp_path, epochs=9, patience=2)
    stopped = len(results["epochs"])
    assert stopped < 9
    _, again = train(tmp_path, epochs=9, patience=2, resume=True)
    assert len(again["epochs"]) == stopped


def test_a_run_that_diverges_says_so_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    from lean3d.tasks.segmentation import Segmentation

    train(tmp_path, epochs=1)
    step = Segmentation.training_step
    monkeypatch.setattr(Segmentation, "training_step", lambda *a: step(*a) * float("nan"))
    with pytest.raises(RunError, match="became nan in epoch 2; lower lr"):
        train(tmp_path, epochs=2, resume=True)
    assert load_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["epoch"] == 0


def test_trains_in_bfloat16(tmp_path):
    model, results = train(tmp_path, epochs=1, precision="bf16-mixed")
    assert model.model[0].weight.dtype == torch.float32
    assert results["epochs"][0]["train_loss"] > 0


def test_a_damaged_checkpoint_is_one_sentence(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(RunError, match=r"cannot read the checkpoint .*last\.ckpt"):
        train(tmp_path, resume=True)


def test_a_checkpoint_of_another_model_is_refused(whole):
    with pytest.raises(RunError, match="11 weights differ in name or shape"):
        load_checkpoint(whole[0] / "checkpoints" / "last.ckpt", torch.nn.Conv2d(1, 1, 1))


@pytest.mark.parametrize(
    "bad", [dict(epochs=0), dict(precision="16-mixed"), dict(accelerator="abacus")]
)
def test_refuses_what_cannot_run_before_anything_is_written(tmp_path, bad):
    with pytest.raises(RunError):
        train(tmp_path / "run", **bad)
    assert not (tmp_path / "run").exists()


def test_ctrl_c_stays_ctrl_c(tmp_path, monkeypatch):
    from lean3d.tasks.segmentation import Segmentation

    def press(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(Segmentation, "training_step", press)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_under_slurm_a_run_neither_reads_nor_writes_checkpoints_elsewhere(tmp_path, monkeypatch):
    for name, value in {"JOB_ID": "1", "JOB_NAME": "train", "NTASKS": "1", "PROCID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    Path("hpc_ckpt_1.ckpt").write_bytes(b"of another program")
    handlers = []
    train(
        tmp_path / "run", epochs=1, begin=lambda: handlers.append(signal.getsignal(signal.SIGUSR1))
    )
    assert handlers == [signal.SIG_DFL]
    assert [path.name for path in work.iterdir()] == ["hpc_ckpt_1.ckpt"]


def test_a_resume_that_cannot_write_its_metrics_changes_none_of_them(tmp_path):
    train(tmp_path, epochs=1)
    (tmp_path / "metrics.json").unlink()
    (tmp_path / "metrics.json").symlink_to("metrics.json")
    before, called = (tmp_path / "metrics.csv").stat().st_mtime_ns, []
    with pytest.raises(RunError, match=r"metrics\.json is a link to nothing"):
        train(tmp_path, resume=True, begin=lambda: called.append(1))
    assert (tmp_path / "metrics.csv").stat().st_mtime_ns == before
    assert not called


def test_an_epoch_writes_both_files_of_metrics_or_neither(tmp_path):
    history = History(tmp_path, "val_top1")
    history.rows = [dict(epoch=1, train_loss=1.0, val_top1=0.5, seconds=1.0, peak_memory_mib=1.0)]
    (tmp_path / "metrics.json").symlink_to("metrics.json")
    with pytest.raises(DataError, match=r"metrics\.json: Too many levels"):
        history.write(finished=False)
    assert not (tmp_path / "metrics.csv").exists()


def test_an_allocator_that_is_not_glibcs_is_refused(monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lambda name: SimpleNamespace())
    with pytest.raises(RunError, match="--fast-allocator needs glibc"):
        keep_freed_memory()
    told = []
    mallopt = SimpleNamespace(mallopt=lambda *setting: told.append(setting) or 1)
    monkeypatch.setattr("ctypes.CDLL", lambda name: mallopt)
    keep_freed_memory()
    assert [name for name, _ in told] == [-3, -1, -2]
