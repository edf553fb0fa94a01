"""Models and weights that a release stored are loaded by later ones, with the same outputs."""

import pickle

import pytest
import torch
from stored_nets import METHODS, NAMES, STORED, clip, converted
from torch import nn

import lean3d


@pytest.fixture(scope="module")
def stored():
    return torch.load(STORED, weights_only=False)


def test_every_method_and_form_is_stored(stored):
    assert list(stored) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_model_gives_its_output(stored, name):
    model, _, expected = stored[name]
    with torch.no_grad():
        torch.testing.assert_close(model(clip()), expected, rtol=1e-4, atol=1e-5)
        again = pickle.loads(pickle.dumps(model))
        torch.testing.assert_close(again(clip()), expected, rtol=1e-4, atol=1e-5)
    assert str(model.conversion).endswith(model.conversion.grade)
    assert type(model).__name__ in repr(model)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_stored_weights_fit_a_conversion_of_today(stored, name):
    _, weights, expected = stored[name]
    model = converted(name)
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    model.load_state_dict(weights)
    with torch.no_grad():
        torch.testing.assert_close(model(clip()), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [type(how).__name__ for how in METHODS])
def test_a_stored_model_goes_back_to_2d(stored, name):
    model, _, _ = stored[name]
    flat = lean3d.unconvert(model)
    assert type(flat.stem[0]) is nn.Conv2d
    assert flat(clip()[:, :, 0]).shape == (1, 2, 12, 12)


def test_modules_of_stored_models_have_stable_paths(stored):
    kinds = {type(module) for model, _, _ in stored.values() for module in model.modules()}
    ours = {kind.__module__ for kind in kinds if kind.__module__.startswith("lean3d.")}
    assert all(module.startswith("lean3d.ops.") for module in ours)
