"""The recipes of the papers, on small made copies of their data sets."""

from dataclasses import replace

import pytest
from PIL import Image

from lean3d.recipes import get_recipe
from lean3d.recipes.datasets import datasets
from lean3d.recipes.resolve import resolve
from lean3d.recipes.runs import run

CLASSES = "boxing", "handclapping", "handwaving", "jogging", "running", "walking"


@pytest.fixture(scope="module")
def kth(tmp_path_factory):
    """Every action of a person to train on and of one to validate on, as folders of images."""
    root = tmp_path_factory.mktemp("kth")
    for name in CLASSES:
        for person in (11, 19):
            folder = root / name / f"person{person}_{name}_d1_uncomp"
            folder.mkdir(parents=True)
            for t in range(3):
                Image.new("L", (80, 60), 40 * t + person).save(folder / f"{t}.png")
    return root


@pytest.mark.parametrize("name", ["kth_regular", "kth_rank1", "kth_stdcf"])
def test_kth_trains_as_in_the_paper(kth, tmp_path, name):
    recipe = replace(
        get_recipe(name), data=f"kth:{kth}", train_samples=2, val_samples=2, batch_size=2, epochs=1
    )
    found = resolve(recipe)
    assert found.class_names == CLASSES
    clip, _ = datasets(found)[0][0]
    assert clip.shape == (1, 16, 60, 80)
    assert (recipe.lr, recipe.steps, get_recipe(name).epochs) == (1e-3, (20,), 40)
    recipe = replace(recipe, schedule="constant", steps=())
    results = run(recipe, tmp_path / "run", accelerator="cpu", progress=False)
    assert "val_top1_handwaving" in results["epochs"][0]


def test_csn_warms_up_over_ten_epochs_of_a_million_clips_of_eight():
    recipe = get_recipe("csn_kinetics")
    assert recipe.warmup == 10 * recipe.train_samples / recipe.batch_size
    assert (recipe.clip, recipe.step, recipe.short_side) == (32, 2, (256, 320))
