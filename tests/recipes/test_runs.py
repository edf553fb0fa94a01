import json
from dataclasses import replace

import pytest
import torch

from lean3d import Atoms, ChannelSeparated, ParallelSeparable, SpaceTime
from lean3d.errors import RunError
from lean3d.recipes import get_recipe
from lean3d.recipes.build import Start, build_model
from lean3d.recipes.predict import predict
from lean3d.recipes.runs import load_run, run
from lean3d.recipes.task import build_task

TINY = dict(train_samples=4, val_samples=2, widths=(4, 6), epochs=1, batch_size=2)
FLAT = replace(get_recipe("shapes2d"), **TINY)
DEEP = replace(get_recipe("shapes3d"), **TINY)


def trained(recipe, out, **kwargs):
    return run(recipe, out, accelerator="cpu", progress=False, **kwargs)


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flat") / "run"
    return folder, trained(FLAT, folder)


def test_a_run_folder_holds_its_recipe_and_where_it_was_run(flat):
    record = json.loads((flat[0] / "recipe.json").read_text())
    assert record["recipe"]["widths"] == [4, 6]
    assert {"torch", "lean3d", "commit", "hardware", "date"} <= record["sessions"][0].keys()


def test_a_run_folder_is_enough_to_load_the_model(flat):
    model, recipe = load_run(flat[0])
    assert recipe == FLAT
    assert not model.training
    best = torch.load(flat[0] / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(v, best[f"model.{k}"]) for k, v in model.state_dict().items())


def test_a_run_is_reported_epoch_by_epoch(flat):
    row = flat[1]["epochs"][0]
    assert {"train_loss", "val_dice", "val_dice_circle", "seconds", "peak_memory_mib"} <= row.keys()


@pytest.mark.parametrize("deep", [dict(conv="acs"), dict(model="unet2d", conv=None, convert="acs")])
def test_a_2d_run_starts_a_3d_run_and_only_its_head_is_fresh(flat, tmp_path, deep):
    recipe = replace(DEEP, **deep, start_from=str(flat[0]))
    flat_weights = load_run(flat[0])[0].state_dict()
    model, fresh, _ = build_model(recipe, Start(flat_weights, FLAT.num_classes))
    assert sorted(fresh) == ["head.bias", "head.weight"]
    for name, value in model.state_dict().items():
        assert name in fresh or torch.equal(value, flat_weights[name])
    trained(recipe, tmp_path)
    assert json.loads((tmp_path / "recipe.json").read_text())["fresh_weights"] == list(fresh)


@pytest.mark.parametrize("how", ["p2sc1", "p2sc2", "csn_ip", "atoms", "rank1"])
def test_a_lean_run_is_loaded_without_a_fit(tmp_path, monkeypatch, how):
    recipe = replace(DEEP, model="unet2d", conv=None, convert=how)
    fitted = build_model(recipe, weights=True).model.eval()
    (tmp_path / "checkpoints").mkdir()
    stored = {"state_dict": build_task(recipe, fitted).state_dict()}
    torch.save(stored, tmp_path / "checkpoints" / "best.ckpt")
    (tmp_path / "recipe.json").write_text(json.dumps({"recipe": recipe.to_dict()}))
    for form in (ParallelSeparable, ChannelSeparated, Atoms, SpaceTime):
        monkeypatch.setattr(form, "fill", None)
    monkeypatch.setattr(ParallelSeparable, "fit_run", None)
    model, _ = load_run(tmp_path)
    assert "not fitted" in str(model.conversion)
    paths = [[row.path for row in one.conversion.rows] for one in (model, fitted)]
    assert paths[0] == paths[1] != []
    x_BCDHW = torch.randn(1, 1, 16, 16, 16)
    assert torch.equal(model(x_BCDHW), fitted(x_BCDHW))


@pytest.mark.slow
def test_a_converted_run_loads_without_the_run_it_started_from(flat, tmp_path):
    recipe = replace(DEEP, model="unet2d", conv=None, convert="acs", start_from=str(flat[0]))
    trained(recipe, tmp_path)
    (tmp_path / "recipe.json").write_text(
        (tmp_path / "recipe.json").read_text().replace(str(flat[0]), "/gone")
    )
    model, loaded = load_run(tmp_path)
    assert loaded.start_from == "/gone"
    assert model(torch.randn(1, 1, 8, 8, 8)).shape == (1, 6, 8, 8, 8)


@pytest.mark.slow
def test_a_run_with_checkpointing_learns_the_same(tmp_path):
    found = [
        trained(replace(DEEP, checkpointing=again), tmp_path / str(again))["epochs"]
        for again in (False, True)
    ]
    assert found[1][0]["train_loss"] == pytest.approx(found[0][0]["train_loss"], abs=1e-5)
    assert found[1][0]["val_loss"] == pytest.approx(found[0][0]["val_loss"], abs=1e-4)
    model, _ = load_run(tmp_path / "True")
    assert not any("Recomputed" in str(type(part).__mro__) for part in model.modules())


def test_checkpointing_of_a_network_without_blocks_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / "own.py").write_text(
        "from torch import nn\n\n\ndef net(num_classes, in_channels):\n"
        "    return nn.Sequential(nn.Conv3d(in_channels, num_classes, 3, padding=1))\n"
    )
    own = replace(DEEP, model=f"{tmp_path}/own.py:net", widths=None, options=(), conv=None)
    with pytest.raises(RunError, match="Sequential has none; train without"):
        trained(replace(own, checkpointing=True), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_that_do_not_fit_are_refused(flat):
    weights = load_run(flat[0])[0].state_dict()
    with pytest.raises(RunError, match=r"encoder\.0\.0\.weight has shape"):
        build_model(replace(DEEP, conv="conv3d"), Start(weights, 3))
    with pytest.raises(RunError, match="cannot start"):
        build_model(replace(DEEP, conv="acs", widths=(4, 8)), Start(weights, 3))


def test_the_seed_decides_the_first_weights():
    first, same, other = (build_model(replace(DEEP, seed=s))[0].head.weight for s in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("size", [(7, 9, 8), (20, 4, 5)])
def test_both_kinds_of_model_predict_volumes(size):
    from lean3d.data import Volume

    volume = Volume(torch.randn(1, *size), None, torch.eye(4).numpy(), "scan")
    for recipe in FLAT, DEEP:
        recipe = replace(recipe, patch=tuple(8 for _ in recipe.patch))
        y_KDHW = predict(build_model(recipe)[0], recipe, volume)
        assert y_KDHW.shape == (recipe.num_classes, *size)
        torch.testing.assert_close(y_KDHW.sum(0), torch.ones(size))


def test_predicting_needs_the_channels_of_training():
    from lean3d.data import Volume

    volume = Volume(torch.randn(2, 8, 8, 8), None, torch.eye(4).numpy(), "scan")
    with pytest.raises(RunError, match="2 channels and the run was trained on 1"):
        predict(build_model(DEEP)[0], DEEP, volume)


def test_resuming_goes_on_and_notes_the_session(flat, tmp_path):
    trained(FLAT, tmp_path)
    results = trained(replace(FLAT, epochs=2), tmp_path, resume=True)
    assert [row["epoch"] for row in results["epochs"]] == [1, 2]
    record = json.loads((tmp_path / "recipe.json").read_text())
    assert len(record["sessions"]) == 2
    assert record["recipe"]["epochs"] == 2


def test_a_run_is_resumed_with_its_own_settings_only(flat):
    with pytest.raises(RunError, match=r"begun with lr 0\.001 and not 0\.1"):
        trained(replace(FLAT, lr=0.1), flat[0], resume=True)


def test_a_used_folder_is_refused(flat):
    before = (flat[0] / "recipe.json").read_text()
    with pytest.raises(RunError, match="--resume"):
        trained(replace(FLAT, lr=0.1), flat[0])
    assert (flat[0] / "recipe.json").read_text() == before


def test_what_is_no_run_folder_is_said(tmp_path):
    with pytest.raises(RunError, match=r"no recipe\.json"):
        load_run(tmp_path)
    with pytest.raises(RunError, match=r"no recipe\.json"):
        trained(FLAT, tmp_path / "never", resume=True)
    (tmp_path / "recipe.json").write_text("{half")
    with pytest.raises(RunError, match="cannot read"):
        load_run(tmp_path)


@pytest.mark.parametrize("text", ["[]", "{}", '{"recipe": 3}', '{"recipe": {"name": "flat"}}'])
def test_a_damaged_recipe_is_one_sentence(tmp_path, text):
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(RunError, match=r"no recipe|incomplete"):
        load_run(tmp_path)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (replace(FLAT, data=""), "needs data"),
        (replace(FLAT, model="unet3d"), "unet3d does not take crops of 48 x 48"),
        (replace(FLAT, precision="16-mixed"), "needs a GPU"),
    ],
)
def test_a_recipe_that_cannot_run_leaves_no_folder(tmp_path, recipe, message):
    with pytest.raises(RunError, match=message):
        trained(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()
