"""Every task in two and four processes, killed and resumed, and under the launchers."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_many_processes import QUIET, assert_same_curve
from tiny_runs import HERE, LEARN, gestures, rows, shapes

from lean3d.data import Neurites
from lean3d.recipes import get_recipe
from lean3d.recipes.runs import run
from lean3d.train.checkpoints import load_checkpoint
from tests.data.walkers import people

pytestmark = pytest.mark.slow


@pytest.fixture
def data(tmp_path):
    """A stack of neurites, and volumes of two classes."""
    tifffile = pytest.importorskip("tifffile")
    raw, labels = Neurites(shape=(10, 24, 26)).draw((0, 0, 0), (10, 24, 26))
    tifffile.imwrite(tmp_path / "raw.tif", raw)
    tifffile.imwrite(tmp_path / "ids.tif", labels)
    random = np.random.default_rng(0)
    for name, bright in (("dark", 0), ("striped", 1)):
        (tmp_path / "classes" / name).mkdir(parents=True)
        for case in range(6):
            volume = random.normal(0, 1, (8, 8, 8)) + 4 * bright * (np.arange(8)[:, None] > 4)
            tifffile.imwrite(tmp_path / "classes" / name / f"{case}.tif", volume.astype("f4"))
    people(tmp_path / "people", persons=range(12), videos=2, frames=5)
    return tmp_path


def recipe_of(task, data, **changes):
    if task == "segmentation":
        return shapes(train_samples=8, val_samples=4, loss="ce", **changes)
    if task == "affinities":
        own = dict(data=str(data / "raw.tif"), labels=str(data / "ids.tif"), patch=(4, 16, 16))
        own |= dict(train_samples=8, val_samples=4, model=f"{HERE}:net", conv=None, widths=None)
        own |= dict(options=(), keep_depth=0, loss="dice_ce", voxel_nm=(10.0, 10.0, 10.0))
        return replace(get_recipe("em_short"), **own | LEARN | changes)
    if task == "volumes":
        own = dict(data=f"classes:{data / 'classes'}", model=f"{HERE}:classifier", options=())
        own |= dict(conv=None, widths=None, train_samples=8)
        return replace(get_recipe("volume_classes"), **own | LEARN | changes)
    if task == "persons":
        own = dict(data=str(data / "people"), widths=(4,) * 4, embedding=4, size=32, held_out=0.2)
        own |= dict(per_person=2, train_samples=16, schedule="constant", margin=1.0)
        return replace(get_recipe("persons"), **own | LEARN | changes)
    kind = "digits_turns" if task == "turns" else "digits"
    turns = dict(turn=1) if task == "turns" else dict(widths=(4,) * 4, options=("window=4",))
    return gestures(kind, **turns | changes)


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize(
    "task", ["segmentation", "affinities", "volumes", "clips", "turns", "persons"]
)
def test_a_run_of_several_processes_is_that_of_one_with_their_batch(data, forked, task, size):
    # a batch of 8 in all; losses of validation that pool a batch see other batches
    # two persons at least in the batch of each process
    batch = 2 * size * 2 if task == "persons" else 8
    run(recipe_of(task, data, batch_size=batch), data / "alone", **QUIET)
    recipe = recipe_of(task, data, batch_size=batch // size)
    run(recipe, data / "together", devices=size, **QUIET)
    if task in ("affinities", "volumes"):
        losses = [
            [row["train_loss"] for row in rows(data / name)] for name in ("alone", "together")
        ]
        np.testing.assert_allclose(*losses, atol=1e-5)
    else:
        assert_same_curve(data / "together", data / "alone")


COMMAND = ["train", "folder", "--data", "shapes3d", "--num-classes", "6", "--in-channels", "1"]
COMMAND += ["--patch", "12", "12", "12", "--model", f"{HERE}:net", "--train-samples", "16"]
COMMAND += ["--val-samples", "4", "--validate", "crops", "--accelerator", "cpu"]
COMMAND += ["--batch-size", "2", "--epochs", "6", "--schedule", "cosine", "--warmup", "3"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def command(out, *more, launcher=()):
    begin = [*launcher, "-m", "lean3d"] if launcher else [sys.executable, "-m", "lean3d"]
    return [*begin, *COMMAND, "--out", str(out), *more]


def last(folder):
    return load_checkpoint(folder / "checkpoints" / "last.ckpt")


def assert_same_weights(folder, other):
    found, wanted = last(folder)["state_dict"], last(other)["state_dict"]
    assert found.keys() == wanted.keys()
    assert all(torch.equal(value, wanted[name]) for name, value in found.items())


def kill_after_an_epoch(argv, folder):
    process = subprocess.Popen(argv, env=ENVIRONMENT, start_new_session=True)
    file = folder / "checkpoints" / "last.ckpt"
    while not file.exists() and process.poll() is None:
        time.sleep(0.01)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert len(json.loads((folder / "metrics.json").read_text())["epochs"]) < 6


@pytest.mark.parametrize(("size", "strategy"), [(2, "ddp"), (4, "ddp"), (2, "fsdp")])
def test_a_killed_run_goes_on_to_the_same_weights(tmp_path, size, strategy):
    processes = ("--devices", str(size), "--strategy", strategy)
    whole = command(tmp_path / "whole", *processes)
    assert subprocess.run(whole, env=ENVIRONMENT).returncode == 0
    killed = command(tmp_path / "killed", *processes)
    kill_after_an_epoch(killed, tmp_path / "killed")
    assert subprocess.run([*killed, "--resume"], env=ENVIRONMENT).returncode == 0
    assert_same_weights(tmp_path / "killed", tmp_path / "whole")
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def test_torchrun_and_srun_start_the_same_run(tmp_path):
    own = subprocess.run(command(tmp_path / "own", "--devices", "2"), env=ENVIRONMENT)
    assert own.returncode == 0
    torchrun = ["torchrun", "--nproc-per-node", "2", "--master-port", free_port()]
    torchrun = [sys.executable, "-m", "torch.distributed.run", *torchrun[1:]]
    out = tmp_path / "torchrun"
    done = subprocess.run(
        command(out, launcher=torchrun), env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    # one process reports
    assert json.loads(done.stdout.splitlines()[-1])["finished"]
    assert done.stderr.count("epoch 1/6") == 1
    assert_same_weights(out, tmp_path / "own")
    # the tasks of two machines, as srun describes them
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    tasks = []
    for rank in range(2):
        slurm = dict(STEP_NUM_TASKS="2", STEP_NUM_NODES="2", PROCID=str(rank), LOCALID="0")
        environment = {f"SLURM_{name}": value for name, value in slurm.items()}
        argv = command(tmp_path / "srun", "--nodes", "2", "--devices", "1")
        tasks.append(subprocess.Popen(argv, env=ENVIRONMENT | meeting | environment))
    assert [task.wait() for task in tasks] == [0, 0]
    assert_same_weights(tmp_path / "srun", tmp_path / "own")


def test_sigterm_ends_all_processes_with_the_advice_to_resume(tmp_path):
    argv = command(tmp_path / "run", "--devices", "2", "--epochs", "500")
    process = subprocess.Popen(argv, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists():
        time.sleep(0.05)
    process.terminate()
    _, said = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    told = [line for line in said.splitlines() if not line.startswith("epoch")]
    assert len(told) == 1
    assert "--resume" in told[0]
    assert not (tmp_path / "run" / ".lock").exists()
