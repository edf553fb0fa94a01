import numpy as np
import pytest
from torch import nn

from lean3d.errors import RunError
from lean3d.models import create_model, find_model, list_models, register_models, registry


@pytest.fixture
def pair(monkeypatch):
    """Two names for one factory, gone after the test."""
    monkeypatch.setattr(registry, "_MODELS", {})
    names = {f"line_{size}": dict(size=size) for size in (2, 3)}

    @register_models(names, "{size} in, {size} out", "nobody, 2026", (1, 2))
    def line(size: int, *, bias: bool = True) -> nn.Linear:
        return nn.Linear(size, size, bias=bias)

    return line


def test_lists_by_pattern():
    assert list_models("unet?d") == ["unet2d", "unet3d"]


def test_one_factory_serves_many_names(pair):
    assert list_models() == ["line_2", "line_3"]
    assert [create_model(name).in_features for name in list_models()] == [2, 3]
    assert create_model("line_3", bias=False).bias is None


def test_knows_a_line_a_source_and_what_is_left_to_choose(pair):
    entry = find_model("line_3")
    assert (entry.what, entry.source) == ("3 in, 3 out", "nobody, 2026")
    assert entry.takes == {"bias": True}


def test_suggests_the_nearest_name(pair):
    with pytest.raises(RunError, match="no model called 'lin3'; did you mean line_3"):
        create_model("lin3")
    with pytest.raises(RunError, match="list_models"):
        create_model("something else")


def test_an_argument_it_does_not_take_is_named_with_the_nearest(pair):
    with pytest.raises(RunError, match="line_3 does not take biases; did you mean bias"):
        create_model("line_3", biases=False)
    with pytest.raises(RunError, match="line_3 does not take depth; it takes bias"):
        create_model("line_3", depth=1)


def test_what_the_name_fixes_cannot_be_changed(pair):
    with pytest.raises(RunError, match="does not take size"):
        create_model("line_3", size=4)


def test_a_name_is_registered_once(pair):
    with pytest.raises(ValueError, match="'line_3' is registered twice"):
        register_models({"line_3": {}}, "", "", (1,))(pair)


@pytest.mark.parametrize(
    ("name", "argument", "value", "sentence"),
    [
        ("resnet3d_18", "pool1", "no", "pool1 is True or False, got 'no'"),
        (
            "resnet3d_18",
            "num_classes",
            -1,
            "num_classes is a whole number from 1 to .*, got -1",
        ),
        (
            "resnet3d_18",
            "in_channels",
            1.5,
            "in_channels is a whole number from 1 to .*, got 1.5",
        ),
        ("psc_unet", "streams", True, "streams is a whole number from 1 to .*, got True"),
        ("mobilenet3d_v1", "width", -1, "width is a number above 0, got -1"),
        ("d_resnet_18", "dropout", -0.1, "dropout is a number of 0 or more, got -0.1"),
    ],
)
def test_a_value_of_another_kind_is_refused_with_what_fits(name, argument, value, sentence):
    with pytest.raises(RunError, match=f"{name}: {sentence}"):
        create_model(name, **{argument: value})


def test_numbers_of_numpy_are_numbers():
    assert create_model("kth_regular", num_classes=np.int64(3)).classifier[-1].out_features == 3


@pytest.mark.parametrize("name", ["unet2d", "resnet3d_18", "d_resnet_18"])
@pytest.mark.parametrize("conv", [3, "conv", nn.Linear(1, 1), lambda *args, **kwargs: args])
def test_an_operator_that_is_none_is_refused(name, conv):
    with pytest.raises(RunError, match=f"{name}: conv is called like nn.Conv3d"):
        create_model(name, conv=conv)
