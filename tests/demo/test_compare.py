from dataclasses import replace

import pytest
import torch

from examples.demo.compare import METHODS, compare
from lean3d.data import Shapes3D
from lean3d.metrics import confusion_counts, dice_of_counts
from lean3d.models import create_model
from lean3d.ops import ACSConv3d
from lean3d.recipes.runs import load_run

# the quick test of the demo trains and compares too
pytestmark = pytest.mark.slow
TINY = dict(widths=(4, 6), epochs=2, train_samples=2, val_samples=5, batch_size=2)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    out = tmp_path_factory.mktemp("compare")
    methods = {name: replace(r, **TINY) for name, r in METHODS["shapes"](out).items()}
    said = []
    return out, methods, compare(methods, out, said.append), said


def test_every_method_is_announced_trained_and_scored(compared):
    _, methods, results, said = compared
    assert [result.method for result in results] == list(methods)
    assert [line.partition(":")[0] for line in said] == list(methods)
    assert all(len(result.epochs) == 2 for result in results)
    assert all(0 <= result.row["mean Dice"] <= 1 for result in results)


def test_the_dice_is_that_of_the_last_epoch_on_all_test_shapes(compared):
    out, _, results, _ = compared
    model, recipe = load_run(out / "acs", checkpoint="last")
    shapes = Shapes3D(5, recipe.seed + 1)
    x, label = (torch.stack(part) for part in zip(*(shapes[i] for i in range(5)), strict=True))
    dice = dice_of_counts(confusion_counts(model(x).argmax(1), label, 6))[1:]
    row = next(r.row for r in results if r.method == "ACS from scratch")
    assert row["Dice cube"] == pytest.approx(float(dice[1]), abs=1e-3)
    assert row["mean Dice"] == pytest.approx(float(dice.nanmean()), abs=1e-3)


def test_parameters_and_macs_are_those_of_the_operator(compared):
    rows = {result.method: result.row for result in compared[2]}
    acs = create_model("unet3d", widths=(4, 6), conv=ACSConv3d)
    assert rows["ACS from scratch"]["params"] == sum(p.numel() for p in acs.parameters())
    assert rows["ACS from 2D"]["params"] == rows["2.5D"]["params"] < rows["3D"]["params"]
    assert rows["2.5D"]["MACs per voxel"] < rows["3D"]["MACs per voxel"]


def test_acs_from_2d_starts_with_the_2d_weights_and_the_others_do_not(compared):
    methods = compared[1]
    starts = {name: recipe.start_from for name, recipe in methods.items()}
    assert [name for name, start in starts.items() if start] == ["ACS from 2D"]
    assert starts["ACS from 2D"] == str(compared[0] / "2d")


def test_resuming_a_finished_comparison_gives_it_again(compared):
    out, methods, results, _ = compared
    again = compare({"3D": methods["3D"]}, out, lambda line: None, resume=True)
    expected = next(result for result in results if result.method == "3D")
    assert again[0].row == expected.row


def test_all_methods_of_a_task_learn_under_equal_settings(tmp_path):
    for methods in (make(tmp_path) for make in METHODS.values()):
        recipes = [r.to_dict() for name, r in methods.items() if name != "2D"]
        free = ("name", "conv", "options", "model", "convert", "start_from")
        settings = [{k: v for k, v in r.items() if k not in free} for r in recipes]
        assert all(other == settings[0] for other in settings)
