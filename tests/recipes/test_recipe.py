import json
from dataclasses import replace
from importlib import import_module
from inspect import isclass, isfunction, signature
from itertools import chain
from pkgutil import iter_modules

import pytest

from lean3d import recipes
from lean3d.errors import RunError
from lean3d.recipes import Recipe, catalogue, get_recipe, list_recipes
from lean3d.recipes.options import read_options


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_is_sound_and_knows_its_own_name(name):
    recipe = get_recipe(name)
    recipe.check()
    assert recipe.name == name
    assert len(recipe.names) == recipe.num_classes


@pytest.mark.parametrize("name", list_recipes())
def test_a_recipe_survives_json(name):
    recipe = get_recipe(name)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_every_function_that_makes_a_recipe_is_listed():
    made = set()
    places = {"lean3d.recipes.": recipes, "lean3d.recipes.catalogue.": catalogue}
    for module in chain(*(iter_modules(p.__path__, prefix) for prefix, p in places.items())):
        for name, function in vars(import_module(module.name)).items():
            own = getattr(function, "__module__", "") == module.name and isfunction(function)
            if own and not name.startswith("_") and not signature(function).parameters:
                made |= {name} if is_recipe(signature(function).return_annotation) else set()
    assert made == set(list_recipes())


def is_recipe(kind):
    return isclass(kind) and issubclass(kind, Recipe)


def test_an_unknown_recipe_suggests_the_nearest():
    with pytest.raises(RunError, match="did you mean brain3d"):
        get_recipe("brian3d")


def test_a_recipe_of_another_version_is_refused():
    with pytest.raises(RunError, match="no warp"):
        Recipe.from_dict({"warp": 9})


def test_a_recipe_of_an_unknown_task_is_refused():
    with pytest.raises(RunError, match="no task called 'knitting'"):
        Recipe.from_dict({"task": "knitting"})


def test_a_recipe_from_before_there_were_tasks_is_one_of_segmentation():
    values = get_recipe("brain3d").to_dict()
    del values["task"]
    assert Recipe.from_dict(values) == get_recipe("brain3d")


def test_the_proof_of_concept_has_the_settings_of_the_paper():
    recipe = get_recipe("shapes3d")
    said = (recipe.loss, recipe.optimizer, recipe.lr, recipe.epochs, recipe.batch_size)
    assert said == ("dice", "adam", 1e-3, 50, 4)
    assert (recipe.train_samples, recipe.val_samples) == (100, 100)
    flat = get_recipe("shapes2d")
    assert (flat.train_samples, flat.val_samples) == (10_000, 2_000)


def test_classes_without_names_are_numbered():
    recipe = replace(get_recipe("folder"), num_classes=3)
    assert recipe.names == ("background", "1", "2")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("num_classes", 1),
        ("patch", (3,)),
        ("patch", (0, 3)),
        ("class_names", ("a",)),
        ("blocks", 0),
        ("seed", -1),
        ("seed", 2**64),
        ("num_classes", 257),
        ("class_names", ("a", "b", "b", "c")),
        ("lr", -1.0),
        ("lr", float("nan")),
        ("weight_decay", -1.0),
        ("momentum", 1.0),
        ("workers", -1),
        ("patience", -1),
        ("min_foreground", 1.5),
        ("weights_part", "encoder"),
        ("format", "vmz"),
        ("class_weights", (1.0, 2.0)),
        ("class_weights", (1.0, 1.0, 1.0, 0.0)),
        ("label_values", (0, 1, 2)),
        ("label_values", (0, 1, 2, 2)),
        ("scaling", (0.0, 1.0, 0.0)),
        ("scaling", (0.0, 1.0, 0.0, 1.0) * 2),
    ],
)
def test_refuses_values_no_run_can_have(field, value):
    with pytest.raises(RunError, match=f"{field} .*got"):
        replace(get_recipe("brain3d"), **{field: value}).check()


def test_options_are_numbers_and_truths_where_they_look_like_them():
    words = ("convs=1", "skip=full", "share=0.5", "deep=true", "pool1=False", "sizes=[1,2]")
    expected = dict(convs=1, skip="full", share=0.5, deep=True, pool1=False, sizes=[1, 2])
    assert read_options(words) == expected


@pytest.mark.parametrize("word", ["convs", "=1", "two words=1"])
def test_an_option_without_name_or_value_is_refused(word):
    with pytest.raises(RunError, match="name=value"):
        read_options([word])
