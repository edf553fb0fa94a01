"""Several processes train and evaluate one run, with the figures of one."""

import json
import os
import signal

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from tiny_runs import HERE, rows, shapes
from torch import nn
from torch.distributed.tensor import DTensor

from lean3d.data import EpochSampler
from lean3d.data.shapes import Shapes3D
from lean3d.errors import DataError, RunError
from lean3d.processes import joined, place, reports, to_start
from lean3d.processes.start import TORCHRUN
from lean3d.recipes.evaluation import Settings, evaluate
from lean3d.recipes.runs import run
from lean3d.tasks.learner import Learner
from lean3d.train.checkpoints import load_checkpoint
from lean3d.train.sharded import check_shardable

QUIET = dict(accelerator="cpu", progress=False)


def assert_same_curve(folder, other):
    for row, expected in zip(rows(folder), rows(other), strict=True):
        assert row.keys() == expected.keys()
        values, wanted = list(row.values()), list(expected.values())
        np.testing.assert_allclose(values, wanted, atol=1e-5, equal_nan=True)


@pytest.mark.slow
def test_two_processes_learn_and_score_what_one_does_and_their_number_is_said(
    tmp_path, forked, capfd
):
    alone, both = tmp_path / "alone", tmp_path / "both"
    # 4 samples a step; those of validation by themselves, as batches pool Dice
    run(shapes(batch_size=4, val_samples=3, loss="ce"), alone, **QUIET)
    results = run(shapes(batch_size=2, val_samples=3, loss="ce"), both, devices=2, **QUIET)
    assert_same_curve(both, alone)
    assert results["finished"]
    assert not [path for path in both.rglob("*") if path.name.startswith(".")]
    # sharing the cases changes no figure
    evaluate(both, settings=Settings(device="cpu", surfaces=False), out=tmp_path / "one")
    evaluate(both, settings=Settings(device="cpu", surfaces=False), out=tmp_path / "two", devices=2)
    one, two = ((tmp_path / name / "scores.csv").read_text() for name in ("one", "two"))
    assert one == two
    told = capfd.readouterr().err.splitlines()
    assert [line.split()[0] for line in told if "Dice" in line] == ["1/2", "2/2"]
    # and a run may go on in another number of processes, which is said
    run(shapes(batch_size=2, val_samples=3, loss="ce", epochs=3), both, resume=True, **QUIET)
    assert "begun with 2 processes and resumed with 1: a step takes 0.5" in capfd.readouterr().err
    assert len(rows(both)) == 3


@pytest.mark.slow
def test_dice_of_a_batch_is_that_of_all_processes(tmp_path, forked):
    run(shapes(batch_size=4, accumulate=2, epochs=1), tmp_path / "alone", **QUIET)
    run(shapes(batch_size=2, accumulate=2, epochs=1), tmp_path / "both", devices=2, **QUIET)
    alone, both = (rows(tmp_path / name)[0]["train_loss"] for name in ("alone", "both"))
    assert both == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize(
    ("fault", "said"), [("raise", "sample 3 is damaged"), ("kill", "process 1 of 2 was killed by")]
)
def test_what_ends_one_process_ends_all_in_one_sentence(tmp_path, forked, monkeypatch, fault, said):
    def broken(self, index):
        if place().rank == 1:
            if fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise DataError("sample 3 is damaged")
        return read(self, index)

    read = Shapes3D.__getitem__
    monkeypatch.setattr(Shapes3D, "__getitem__", broken)
    kind = DataError if fault == "raise" else RunError
    with pytest.raises(kind, match=said):
        run(shapes(), tmp_path / "run", devices=2, **QUIET)
    assert not (tmp_path / "run").exists()


def test_a_refusal_of_the_first_process_is_that_of_all(tmp_path, forked):
    with pytest.raises(RunError, match="9 processes cannot share 8 training samples"):
        run(shapes(), tmp_path / "run", devices=9, **QUIET)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("length", "size"), [(12, 2), (12, 3), (11, 4), (2, 4)])
def test_shares_are_equal_and_together_the_epoch_of_one_process(length, size):
    whole = EpochSampler(length, seed=5)
    shares = [EpochSampler(length, seed=5, rank=rank, size=size) for rank in range(size)]
    for sampler in (whole, *shares):
        sampler.set_epoch(3)
    taken = [list(share) for share in shares]
    assert {len(share) for share in taken} == {len(shares[0])}
    # in the order of one process, step by step, and filled up by its first samples
    together = [index for step in zip(*taken, strict=True) for index in step]
    order = list(whole)
    assert together[:length] == order
    assert together[length:] == (order * size)[: len(together) - length]


def launched(monkeypatch, **values):
    for name in (*TORCHRUN, "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, str(value))


def test_what_a_launcher_started_is_joined_and_another_number_refused(monkeypatch):
    numbers = dict(RANK=3, WORLD_SIZE=4, LOCAL_RANK=1, LOCAL_WORLD_SIZE=2)
    launched(monkeypatch, **numbers, MASTER_ADDR="localhost", MASTER_PORT=1)
    assert not to_start(None, None)
    assert not reports(2, 2)
    with pytest.raises(RunError, match="torchrun started 2 processes on each of 2 machines"):
        to_start(4, None)
    tasks = dict(STEP_NUM_TASKS=4, STEP_NUM_NODES=2, PROCID=0, LOCALID=0)
    launched(monkeypatch, **{f"SLURM_{name}": value for name, value in tasks.items()})
    assert reports(2, 2)
    assert not to_start(2, 2)
    # tasks may as well be runs of their own
    assert not to_start(None, None)
    assert not to_start(1, 1)
    with pytest.raises(RunError, match="srun started"):
        to_start(4, 1)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (dict(devices=0), "--devices is 1 or more"),
        (dict(nodes=2), "--nodes 2 needs a launcher"),
        (dict(strategy="deepspeed"), "no strategy called 'deepspeed'"),
        (dict(devices=2, accelerator="gpu"), "cannot train with these settings|process"),
    ],
)
def test_what_cannot_be_started_is_refused_before_anything_is_written(
    tmp_path, monkeypatch, asked, said
):
    if torch.cuda.is_available() and "gpu" in asked.values():
        pytest.skip("has a GPU")
    launched(monkeypatch)
    with pytest.raises(RunError, match=said):
        run(shapes(), tmp_path / "run", **QUIET | asked)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_sharded_weights_learn_the_same_and_go_on_from_whole_checkpoints(
    tmp_path, forked, monkeypatch
):
    def numbers(task):
        begin(task)
        local = [p.to_local() for p in task.parameters() if isinstance(p, DTensor)]
        count = sum(part.numel() for part in local), sum(p.numel() for p in task.parameters())
        (tmp_path / f"parts{place().rank}").write_text(json.dumps(count))

    begin = Learner.on_fit_start
    # frozen: the optimizer numbers fewer parameters than the network has
    settings = dict(batch_size=2, val_samples=3, loss="ce", freeze=("0",), lr_scale=("3=0.5",))
    whole, sharded = tmp_path / "whole", tmp_path / "sharded"
    run(shapes(**settings), whole, devices=2, **QUIET)
    monkeypatch.setattr(Learner, "on_fit_start", numbers)
    run(shapes(**settings, epochs=1), sharded, devices=2, strategy="fsdp", **QUIET)
    parts = [json.loads((tmp_path / f"parts{rank}").read_text()) for rank in range(2)]
    # each process has its own, and none has all
    assert sum(own for own, _ in parts) == parts[0][1]
    assert max(own for own, _ in parts) < parts[0][1]
    run(shapes(**settings), sharded, devices=2, strategy="fsdp", resume=True, **QUIET)
    assert_same_curve(sharded, whole)
    found, wanted = (
        load_checkpoint(folder / "checkpoints" / "last.ckpt") for folder in (sharded, whole)
    )
    torch.testing.assert_close(found["state_dict"], wanted["state_dict"], atol=1e-6, rtol=0)
    torch.testing.assert_close(
        found["optimizer_states"], wanted["optimizer_states"], atol=1e-6, rtol=0
    )
    # and one process goes on from it
    monkeypatch.undo()
    run(shapes(**settings, epochs=3), sharded, resume=True, **QUIET)
    assert len(rows(sharded)) == 3


class Scaled(nn.Conv3d):
    def __init__(self, in_channels, num_classes):
        super().__init__(in_channels, num_classes, 1)
        self.scale = nn.Parameter(torch.tensor(1.0))


class Bare(pl.LightningModule):
    pass


def test_what_cannot_be_sharded_is_refused(tmp_path):
    with pytest.raises(RunError, match="not in 16-mixed"):
        run(shapes(precision="16-mixed"), tmp_path / "run", strategy="fsdp", **QUIET)
    assert not (tmp_path / "run").exists()
    with pytest.raises(RunError, match=r"cannot shard model.scale, a single number; make it"):
        check_shardable(Learner(Scaled(1, 6)))
    with pytest.raises(RunError, match="Bare does not"):
        check_shardable(Bare())


def test_one_process_joins_nobody():
    with joined() as own:
        assert (own.rank, own.size, own.nodes) == (0, 1, 1)
    assert not torch.distributed.is_initialized()


def test_the_rate_is_that_of_the_samples_of_a_step(monkeypatch):
    recipe = shapes(lr=0.01, lr_batch=8, batch_size=4, accumulate=4)
    assert recipe.step_lr == pytest.approx(0.02)
    monkeypatch.setattr("lean3d.recipes.base.place", lambda: type("", (), {"size": 8})())
    assert recipe.step_lr == pytest.approx(0.16)
    assert shapes(lr=0.01, batch_size=64).step_lr == 0.01


@pytest.mark.slow
def test_a_last_step_of_fewer_batches_counts_them_alone(tmp_path):
    """Three batches in steps of two: the second step is that of a single batch."""

    def weights(epochs, **settings):
        folder = tmp_path / f"{epochs}{sorted(settings)}"
        run(shapes(lr=0.05, epochs=1, sync_batchnorm=False, loss="ce", **settings), folder, **QUIET)
        return load_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]

    still = dict(model=f"{HERE}:plain", train_samples=12, val_samples=4)
    summed = weights(1, batch_size=4, accumulate=2, **still)
    apart = weights(2, batch_size=8, **still)
    for name, value in summed.items():
        torch.testing.assert_close(value, apart[name], atol=1e-6, rtol=1e-4)
