import json
from dataclasses import replace

import pytest
import torch

from lean3d.errors import RunError
from lean3d.recipes import Recipe, get_recipe
from lean3d.recipes.features import extract
from lean3d.recipes.runs import load_run, run

SIZE = dict(widths=(4, 4, 4, 4), video=10, clip=8, batch_size=4, epochs=1, val_samples=23)
FIRST = replace(get_recipe("digits"), **SIZE, train_samples=8, options=("window=4",))
HEAD = "head=gru", "layers=1", "hidden=6", "dropout=0.3"
SECOND = replace(
    get_recipe("digits_gru"), **SIZE, train_samples=12, videos=12, options=HEAD, shortest=4
)


def trained(recipe, out, **kwargs):
    return run(recipe, out, accelerator="cpu", progress=False, **kwargs)


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stages")
    trained(FIRST, folder / "first")
    second = replace(SECOND, start_from=str(folder / "first"))
    return folder, second, trained(second, folder / "second")


def test_the_second_stage_trains_a_head_on_the_first_stages_features(stages):
    folder, second, results = stages
    first, _ = load_run(folder / "first")
    whole, recipe = load_run(folder / "second")
    assert recipe == second
    assert results["monitor"] == "val_top1"
    trunk = {n: v for n, v in first.state_dict().items() if not n.startswith("head.")}
    assert all(torch.equal(v, whole.state_dict()[n]) for n, v in trunk.items())
    fresh = json.loads((folder / "second" / "recipe.json").read_text())["fresh_weights"]
    assert fresh
    assert all(name.startswith("head.") for name in fresh)


def test_the_features_on_disk_are_those_of_whole_videos(stages):
    from lean3d.data.feature_clips import read_features
    from lean3d.recipes.clips import whole_videos

    folder, second, _ = stages
    (kept,) = (folder / "first" / "features").glob("val_*.npy")
    model, _ = load_run(folder / "first")
    _, videos = whole_videos(second, 1)
    features, labels = extract(model, videos)
    x_NTF, label_N = read_features(kept)
    assert x_NTF.shape == (23, 10, 4)
    torch.testing.assert_close(torch.from_numpy(x_NTF.copy()), features)
    assert label_N.tolist() == labels.tolist()


def test_its_validation_is_that_of_the_whole_model_on_whole_videos(stages):
    from lean3d.recipes.clips import whole_videos

    folder, second, results = stages
    model, _ = load_run(folder / "second", checkpoint="last")
    _, videos = whole_videos(second, 1)
    with torch.no_grad():
        right = [int(model(x[None]).argmax(1)) == int(label) for x, label in videos]
    assert results["epochs"][-1]["val_top1"] == pytest.approx(sum(right) / len(right))


def test_heads_share_the_features_that_are_there(stages, monkeypatch):
    from lean3d.recipes import features

    folder, second, _ = stages
    monkeypatch.setattr(features, "extract", None)
    trained(replace(second, options=("head=lstm", *HEAD[1:])), folder / "lstm")
    assert len(list((folder / "first" / "features").iterdir())) == 2


@pytest.mark.slow
def test_a_stopped_second_stage_resumes_to_the_same_weights(stages):
    folder, second, _ = stages
    steady = replace(second, schedule="constant", warmup=0, epochs=2)
    trained(steady, folder / "whole")
    trained(replace(steady, epochs=1), folder / "parts")
    trained(steady, folder / "parts", resume=True)
    whole, parts = (load_run(folder / name, "last")[0].state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_trunk_of_another_width_is_refused(stages):
    folder, second, _ = stages
    with pytest.raises(RunError, match="cannot start digits_gru"):
        trained(replace(second, widths=(4, 4, 4, 6)), folder / "other")
    assert not (folder / "other").exists()


def test_a_run_whose_model_has_no_features_is_refused(tmp_path):
    plain = replace(FIRST, model="mobilenet3d_v1", widths=None, options=("width=0.125",))
    trained(plain, tmp_path / "first")
    second = replace(SECOND, model=plain.model, widths=None, options=plain.options)
    with pytest.raises(RunError, match="does not part into features"):
        trained(replace(second, start_from=str(tmp_path / "first")), tmp_path / "second")


def test_a_recipe_of_the_second_stage_survives_json():
    assert Recipe.from_dict(json.loads(json.dumps(SECOND.to_dict()))) == SECOND


def test_the_second_stage_has_the_numbers_of_the_paper():
    recipe = get_recipe("digits_lstm")
    assert (recipe.slower, recipe.variance, recipe.shortest) == ((0.3, 0.14, 0.11), 0.005, 16)
    assert {"head=lstm", "layers=2", "dropout=0.3"} <= set(recipe.options)
    assert get_recipe("digits").clip == 19


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("start_from", None),
        ("videos", 0),
        ("shortest", 0),
        ("longest", 11),
        ("longest", 3),
        ("slower", (0.6, 0.6)),
        ("slower", (-0.1,)),
        ("erased", 1.5),
        ("variance", -1.0),
        ("warmup", -1),
    ],
)
def test_refuses_values_no_second_stage_can_have(field, value):
    name = "shortest" if field == "longest" else field
    with pytest.raises(RunError, match=f"{name} .*got"):
        replace(SECOND, **{field: value}).check()
