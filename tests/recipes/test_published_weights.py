"""Published weights into training: their input, a new head, parts that stay or learn faster."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import lean3d
from lean3d.errors import RunError
from lean3d.recipes import ClassificationRecipe
from lean3d.recipes.load import read_recipe
from lean3d.recipes.runs import load_run, run
from lean3d.tasks.classification import Classification

SIZES = {
    "torchvision": ("resnet3d_18", dict(widths=(4, 4, 4, 4)), ("pool1=false",), 0.43216),
    "vmz": ("ir_csn_26", dict(widths=(8, 8, 8, 8)), (), 0.43216),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    random = np.random.default_rng(0)
    for label in ("bow", "wave"):
        for number in range(2):
            folder = root / label / str(number)
            folder.mkdir(parents=True)
            for t in range(4):
                pixels = random.integers(0, 256, (20, 20, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{t}.png")
    return root


def published(form, path):
    """Weights of 7 classes, named as the format has them."""
    name, size, options, _ = SIZES[form]
    more = dict(pool1=False) if options else {}
    torch.manual_seed(0)
    state = lean3d.create_model(name, num_classes=7, **size, **more).state_dict()
    counted = 5 if form == "torchvision" else 0
    state = {
        k: torch.full_like(v, counted) if k.endswith("num_batches_tracked") else v
        for k, v in state.items()
    }
    torch.save(state, path)
    return state


@pytest.mark.parametrize("form", SIZES)
def test_published_weights_are_tuned_with_their_input_and_a_new_head(data, tmp_path, capsys, form):
    name, size, options, mean = SIZES[form]
    state = published(form, tmp_path / "weights.pt")
    recipe = ClassificationRecipe(
        name="tune",
        data=str(data),
        num_classes=0,
        model=name,
        options=options,
        weights=str(tmp_path / "weights.pt"),
        freeze=("stem", "layer1"),
        lr_scale=("fc=10",),
        clip=4,
        size=16,
        train_samples=2,
        val_samples=2,
        batch_size=2,
        epochs=1,
        lr=0.01,
        **size,
    )
    run(recipe, tmp_path / "run", accelerator="cpu")
    kept = read_recipe(tmp_path / "run")
    assert kept.mean[0] == pytest.approx(mean)
    tuned = load_run(tmp_path / "run")[0].state_dict()
    assert tuned["fc.weight"].shape[0] == 2
    for key, value in state.items():
        if key.startswith(("stem.", "layer1.")):
            assert torch.equal(tuned[key], value), key
    assert not torch.equal(tuned["layer4.0.conv1.0.weight"], state["layer4.0.conv1.0.weight"])
    # the mean of the weights need not be given again
    more = run(replace(recipe, epochs=2), tmp_path / "run", resume=True, accelerator="cpu")
    assert len(more["epochs"]) == 2
    assert "were trained with" in capsys.readouterr().err


def test_a_part_learns_at_its_own_rate():
    model = lean3d.create_model("resnet3d_18", num_classes=2, widths=(2, 2, 2, 2))
    task = Classification(model, 2, lr=0.1, lr_scale={"fc": 10, "layer4": 0.5, "layer4.1": 2})
    rates = {}
    names = {id(p): n for n, p in model.named_parameters()}
    for group in task._optimizer().param_groups:
        rates |= {names[id(p)]: group["lr"] for p in group["params"]}
    assert rates["fc.weight"] == pytest.approx(1.0)
    assert rates["layer4.0.conv1.0.weight"] == pytest.approx(0.05)
    assert rates["layer4.1.conv1.0.weight"] == pytest.approx(0.2)
    assert rates["stem.0.weight"] == pytest.approx(0.1)
    assert len(rates) == len(names)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(freeze=("layer9",)), "no part 'layer9'; its parts are stem, layer1"),
        (dict(lr_scale={"fcc": 2.0}), "no part 'fcc'"),
    ],
)
def test_a_part_that_is_not_there_is_refused(given, message):
    model = lean3d.create_model("resnet3d_18", num_classes=2, widths=(2, 2, 2, 2))
    with pytest.raises(RunError, match=message):
        Classification(model, 2, **given)


def test_nothing_to_train_is_refused():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    with pytest.raises(RunError, match="leaves nothing to train"):
        Classification(model, 2, freeze=["0"])._optimizer()


@pytest.mark.parametrize("bad", ["fc", "fc=x", "=2", "fc=-1", "fc=nan"])
def test_a_scale_is_a_part_with_a_factor(bad):
    recipe = ClassificationRecipe(name="t", data="digits", num_classes=2, model="mc3_18")
    with pytest.raises(RunError, match="lr_scale"):
        replace(recipe, lr_scale=(bad,)).check()
