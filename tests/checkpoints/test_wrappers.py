"""The same weights as trainers save them: each file fills the model they came from."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import lean3d
from lean3d.checkpoints import open_checkpoint
from lean3d.checkpoints.wrappers import unwrap


def make():
    return lean3d.create_model("resnet3d_18", num_classes=3, widths=(2, 2, 2, 2), pool1=False)


OWN = make().state_dict()


def put(prefix):
    return {prefix + key: value for key, value in OWN.items()}


def averaged():
    model = make()
    model.load_state_dict(OWN)
    return torch.optim.swa_utils.AveragedModel(model).state_dict()


FILES = {
    "alone": OWN,
    "module.": put("module."),
    "compile of DDP": put("_orig_mod.module."),
    "DDP of compile": put("module._orig_mod."),
    "Lightning, compiled": {"state_dict": put("model._orig_mod.")},
    "Lightning, self.net": {"state_dict": put("net.")},
    "Lightning, a child of any name": {"state_dict": put("student.backbone3d.")},
    "a loss": {"state_dict": {**put("model."), "criterion.weight": torch.ones(5)}},
    "a metric": {"state_dict": {**put("model."), "val_acc.tp": torch.ones(5)}},
    "a model and its EMA": {"state_dict": {**put("model."), **put("ema.module.")}},
    "averaged": averaged(),
    "EMA alone": {"ema": OWN, "epoch": 3},
    "timm's EMA": {"state_dict_ema": OWN, "arch": "x"},
    "inner": {"model": {"state_dict": OWN}},
    "beside an optimizer": {"model": OWN, "optimizer": {"state": {0: {"step": torch.ones(())}}}},
    "a numpy score": {"state_dict": OWN, "best": np.float64(0.9), "curve": np.ones(3)},
    "arguments": {"state_dict": OWN, "args": argparse.Namespace(lr=1.0), "dir": Path("runs")},
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_the_model_is_filled_whatever_wraps_it(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    model = make()
    loaded = lean3d.load_checkpoint(model, tmp_path / "a.pt")
    assert all(torch.equal(value, OWN[name]) for name, value in model.state_dict().items())
    assert loaded.not_loaded == ()


def test_tensors_beside_the_model_are_told(tmp_path):
    torch.save(FILES["a loss"], tmp_path / "a.pt")
    assert lean3d.load_checkpoint(make(), tmp_path / "a.pt").unused == ("criterion.weight",)


def test_a_second_set_of_weights_is_told(tmp_path):
    torch.save({"state_dict": OWN, "state_dict_ema": OWN, "epoch": 3}, tmp_path / "a.pt")
    assert lean3d.load_checkpoint(make(), tmp_path / "a.pt").unused == ("state_dict_ema",)


def test_sets_of_weights_of_which_none_is_the_models_are_named(tmp_path):
    torch.save({"student": OWN, "teacher": OWN, "epoch": 3}, tmp_path / "a.pt")
    with pytest.raises(
        lean3d.LeanError, match=r"under student, teacher, .*\['teacher'\], new_path"
    ):
        lean3d.load_checkpoint(make(), tmp_path / "a.pt")


def test_a_file_is_recognised_without_a_model(tmp_path):
    torch.save(FILES["compile of DDP"], tmp_path / "a.pt")
    assert open_checkpoint(tmp_path / "a.pt").structure.name == "resnet3d_18"


class Parent(nn.Module):
    """A model whose own children have the names of wrappers."""

    def __init__(self):
        super().__init__()
        self.model, self.net = nn.Conv3d(3, 4, 3), nn.Linear(4, 2)


@pytest.mark.parametrize("prefix", ["", "module.", "model."])
def test_a_model_whose_child_is_called_model_loads_its_own(tmp_path, prefix):
    own = Parent().state_dict()
    torch.save({prefix + key: value for key, value in own.items()}, tmp_path / "a.pt")
    model = Parent()
    lean3d.load_checkpoint(model, tmp_path / "a.pt", format="lean3d")
    assert all(torch.equal(value, own[name]) for name, value in model.state_dict().items())


def test_a_single_child_called_model_is_kept_for_a_model_that_has_it():
    tensors = {"model.weight": torch.ones(2), "model.bias": torch.ones(2)}
    assert list(unwrap(tensors, ["model.weight", "model.bias"]).tensors) == list(tensors)
    assert list(unwrap(tensors).tensors) == ["weight", "bias"]


def test_code_in_a_file_is_still_not_run(tmp_path):
    torch.save({"state_dict": OWN, "f": print}, tmp_path / "a.pt")
    with pytest.raises(lean3d.errors.DataError, match="more than tensors"):
        lean3d.load_checkpoint(make(), tmp_path / "a.pt")
