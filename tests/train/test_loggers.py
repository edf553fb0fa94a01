import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from killed_run import train
from lightning.pytorch.loggers import TensorBoardLogger

from lean3d.errors import MissingExtraError, RunError
from lean3d.train import loggers
from lean3d.train.fit import fit
from lean3d.train.history import History
from lean3d.train.loggers import LogRows

SCRIPT = Path(__file__).with_name("killed_run.py")
ABSENT = [n for n in ("wandb", "mlflow", "trackio") if importlib.util.find_spec(n) is None]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def shown(folder, name):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    return events.Tags()["scalars"], {e.step: e.value for e in events.Scalars(name)}


@pytest.mark.slow
def test_tensorboard_shows_every_number_at_its_epoch_after_a_kill_too(tmp_path):
    killed = subprocess.run(
        [sys.executable, SCRIPT, tmp_path, "write", "tensorboard"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert killed.returncode == -signal.SIGKILL
    _, results = train(tmp_path, resume=True, logger="tensorboard")
    tags, scores = shown(tmp_path, "val_dice")
    assert results["epochs"][0].keys() - {"epoch"} <= set(tags)
    assert scores == pytest.approx({row["epoch"]: row["val_dice"] for row in results["epochs"]})
    assert "lr: 0.01" in (tmp_path / "tensorboard" / "hparams.yaml").read_text()


class Mlflow:
    """What a run asks of Lightning's MLFlowLogger; the package is not installed here."""

    def __init__(self, experiment, title, tracking_uri, run_id):
        self.version, self.place, self.settings = run_id or "new", tracking_uri, []

    def log_hyperparams(self, settings):
        self.settings.append(settings)


@pytest.mark.parametrize(("record", "logged"), [(None, [{"epochs": 2}]), ("old", [])])
def test_mlflow_has_a_database_and_the_settings_once(tmp_path, monkeypatch, record, logged):
    monkeypatch.setattr(loggers, "MLFlowLogger", Mlflow)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    history = History(tmp_path, "val_dice")
    history.record = record
    rows = LogRows("mlflow", history, {"epochs": 2})
    rows.on_train_start(None, None)
    assert rows.logger.settings == logged
    assert history.record == (record or "new")
    assert rows.logger.place == f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    assert (tmp_path / "mlruns").is_dir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.org")
    rows.on_train_start(None, None)
    assert rows.logger.place == "https://mlflow.example.org"


def test_a_logger_that_cannot_begin_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError("no such host\nTraceback")

    monkeypatch.setattr(TensorBoardLogger, "log_hyperparams", fail)
    with pytest.raises(RunError, match="cannot log to tensorboard: no such host; leave --logger"):
        train(tmp_path / "run", logger="tensorboard")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ABSENT)
def test_a_logger_whose_package_is_missing_names_its_extra(tmp_path, name):
    with pytest.raises(MissingExtraError, match=rf"{name} is needed.*'lean3d\[{name}\]'"):
        train(tmp_path / "run", logger=name)
    assert not (tmp_path / "run").exists()


def test_an_unknown_logger_is_refused(tmp_path):
    with pytest.raises(RunError, match="no logger called 'paper'; there are tensorboard"):
        fit(None, None, None, tmp_path, epochs=1, logger="paper")
