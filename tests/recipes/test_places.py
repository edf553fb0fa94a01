import os
from dataclasses import replace

import pytest

from lean3d.recipes import get_recipe
from lean3d.recipes.places import is_there, same_data, with_whole_paths


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with what recipes name, in which the tests run."""
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "a:b").mkdir()
    (tmp_path / "lits").mkdir()  # called as a layout is
    for name in ("volume.h5", "set.npz", "labels.csv", "start.pth", "net.py"):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("data", "{}/data"),
        ("./data/", "{}/data"),
        ("data/deep/..", "{}/data"),
        ("~/data", "{}/data"),
        ("lits:data", "lits:{}/data"),
        ("lits:~/data", "lits:{}/data"),
        ("csv:labels.csv", "csv:{}/labels.csv"),
        ("medmnist:set.npz", "medmnist:{}/set.npz"),
        ("a:b", "{}/a:b"),
        # drawn, and not the folder of that name; not there; whole already
        ("digits", "digits"),
        ("nowhere", "nowhere"),
        ("lits:nowhere", "lits:nowhere"),
        ("/data", "/data"),
    ],
)
def test_data_are_kept_with_their_whole_path(here, given, kept):
    (here / "digits").mkdir()
    recipe = replace(get_recipe("folder"), data=given)
    assert with_whole_paths(recipe).data == kept.format(here)


def test_links_are_kept(here):
    os.symlink(here / "data", here / "link")
    recipe = replace(get_recipe("folder"), data="link")
    assert with_whole_paths(recipe).data == f"{here}/link"


def test_every_file_that_a_recipe_names_is_kept_with_its_whole_path(here):
    (here / "run").mkdir()
    recipe = get_recipe("folder")
    recipe = replace(recipe, model="net.py:make", cache="new", start_from="run", teacher="run")
    kept = with_whole_paths(recipe)
    assert (kept.model, kept.cache) == (f"{here}/net.py:make", f"{here}/new")
    assert (kept.start_from, kept.teacher) == (f"{here}/run",) * 2
    for weights, whole in (("start.pth", f"{here}/start.pth"), ("pretrained", "pretrained")):
        assert with_whole_paths(replace(recipe, weights=weights)).weights == whole


def test_parts_of_files_are_kept_with_their_whole_path(here):
    recipe = replace(get_recipe("em_affinities"), data="volume.h5:raw", labels="volume.h5:ids")
    kept = with_whole_paths(recipe)
    assert (kept.data, kept.labels) == (f"{here}/volume.h5:raw", f"{here}/volume.h5:ids")
    assert is_there(kept.data)


def test_one_place_has_many_spellings(here):
    assert same_data("data", f"{here}/data/../data/")
    assert same_data("lits:data", f"lits:{here}/data")
    assert same_data("folder:data", "data")
    assert same_data("digits", "digits")
    assert not same_data("lits:data", "data")
    assert not same_data("data", "data/deep")
    assert not is_there("lits:nowhere")
