"""A recipe from a file holds what its fields are annotated to hold, or is refused by name."""

import json
import os
from contextlib import suppress
from dataclasses import fields, replace

import pytest

from lean3d.errors import LeanError, RunError
from lean3d.networks.make import make_model
from lean3d.recipes import Recipe, get_recipe
from lean3d.recipes.datasets import loaders
from lean3d.recipes.load import read_record
from lean3d.recipes.options import read_options
from lean3d.train.checkpoints import load_checkpoint

ODD = [None, True, 5, -1, 2**70, 10**4000, 1.5, float("nan"), float("inf"), "x", "", [], {}, [5]]
ODD += [[[]], [None], [2**70], {"a": 1}, ["x", 5], [float("nan")], 10**9]


def told(kind):
    """The recipe as JSON has it."""
    return json.loads(json.dumps(get_recipe(kind).to_dict()))


@pytest.mark.parametrize("kind", ["brain3d", "videos", "digits_lstm"])
def test_no_value_of_any_field_is_anything_but_taken_or_refused(kind):
    values, taken = told(kind), 0
    for name in [*(field.name for field in fields(get_recipe(kind))), "task"]:
        for odd in ODD:
            with suppress(RunError):
                taken += type(Recipe.from_dict({**values, name: odd})) is type(get_recipe(kind))
    assert 0 < taken < len(ODD) * len(values) / 3


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("patch", 5, "patch is a list, each a whole number of at most 64 bits, got 5"),
        ("options", [5], r"options\[0\] is text, got 5"),
        ("seed", None, "seed is a whole number of at most 64 bits, got None"),
        ("seed", 2**70, "got one of 71 bits"),
        ("batch_size", "4", "batch_size is a whole number of at most 64 bits, got '4'"),
        ("widths", "4", "widths is a list, each .* or null, got '4'"),
        ("conv", {}, "conv is text or null"),
        ("lr", float("nan"), "lr is a finite number, got nan"),
        ("lr", 1e38, "lr must be from 0 to 1,000,000"),
        ("channels_last", 1, "channels_last is true or false, got 1"),
        ("optimizer", "adm", "optimizer is one of adam, adamw, sgd, got 'adm'"),
        ("spacing_mm", 0, "spacing_mm is one number above 0, or three"),
        ("train_samples", 10**12, "train_samples must be at most 10,000,000"),
        ("workers", 10**6, "workers must be at most 512"),
        ("task", {}, "no task called {}"),
        ("batch_size", 0, "batch_size must be 1 or more"),
    ],
)
def test_a_value_of_another_type_is_refused_with_what_fits(name, value, sentence):
    with pytest.raises(RunError, match=sentence):
        Recipe.from_dict({**told("brain3d"), name: value})


def test_whole_numbers_are_numbers():
    assert Recipe.from_dict({**told("brain3d"), "lr": 1}).lr == 1.0


@pytest.mark.parametrize("text", ["[" * 100_000, "[", '{"recipe": 5}', "5", "9" * 5000, "\0", ""])
def test_a_record_that_is_damaged_is_refused(tmp_path, text):
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(RunError, match=r"recipe\.json"):
        read_record(tmp_path)


def test_a_record_that_is_no_text_or_too_long_is_refused(tmp_path):
    (tmp_path / "recipe.json").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(RunError, match="cannot read"):
        read_record(tmp_path)
    with open(tmp_path / "recipe.json", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(RunError, match="too long"):
        read_record(tmp_path)


def test_pipes_and_links_to_themselves_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "recipe.json")
    with pytest.raises(RunError, match="no run folder"):
        read_record(tmp_path)
    os.mkfifo(tmp_path / "best.ckpt")
    (tmp_path / "last.ckpt").symlink_to("last.ckpt")
    for name in ("best.ckpt", "last.ckpt"):
        with pytest.raises(RunError, match=f"there is no checkpoint .*{name}"):
            load_checkpoint(tmp_path / name)


@pytest.mark.parametrize(
    "word", ["a=" + "[" * 100_000, "a=" + "9" * 5000, "a=NaN", "a=[Infinity]", "a=-" + "9" * 30]
)
def test_options_beyond_what_numbers_hold_are_refused(word):
    with pytest.raises(RunError, match="option"):
        read_options([word])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (dict(convs=10**9), "convs is a whole number from 1 to 1,000,000"),
        (dict(convs=10**6, widths=(2, 2)), "more than 8,000 tensors"),
        (dict(widths=(10**6, 10**6)), "model unet3d takes .* TiB of memory and"),
        (dict(widths=()), "widths is 1 to 100 whole numbers"),
        (dict(widths=(2,) * 1000), "widths is 1 to 100 whole numbers"),
        (dict(widths=(2.5, 3)), "widths is 1 to 100 whole numbers"),
    ],
)
def test_models_that_no_machine_holds_are_refused_before_they_are_built(arguments, sentence):
    with pytest.raises(LeanError, match=sentence):
        make_model("unet3d", arguments)


def test_a_batch_that_no_machine_holds_is_refused_before_the_data_are_read():
    recipe = replace(get_recipe("folder"), data="nowhere", patch=(9000, 9000, 9000))
    with pytest.raises(LeanError, match="a batch of 2 crops of 9000 x 9000 x 9000 takes"):
        loaders(recipe)
