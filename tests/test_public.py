"""The names other projects call. A name leaves this list only with a CHANGELOG line."""

import inspect
from dataclasses import fields, is_dataclass

import pytest

import lean3d

NAMES = [
    "ACS",
    "Atoms",
    "ChannelSeparated",
    "Conversion",
    "ConversionError",
    "Cost",
    "DataError",
    "Dissect",
    "Inflate",
    "LeanError",
    "Lightening",
    "Loaded",
    "MeanACS",
    "MissingExtraError",
    "ParallelSeparable",
    "Planar",
    "PlaneCycle",
    "RunError",
    "ShapeError",
    "SoftACS",
    "SpaceTime",
    "Stream",
    "__version__",
    "convert",
    "count",
    "create_model",
    "decompose",
    "export_step",
    "fold",
    "lighten",
    "list_models",
    "load_checkpoint",
    "ops",
    "optimize",
    "stream",
    "unconvert",
]

OPERATORS = [
    "ACSConv3d",
    "AtomConv3d",
    "CausalConv3d",
    "ChannelSeparatedConv3d",
    "MeanACSConv3d",
    "ParallelSeparableConv3d",
    "PlanarConv3d",
    "SoftACSConv3d",
    "SpaceTimeConv3d",
]


def test_the_public_names_are_these():
    assert sorted(lean3d.__all__) == sorted(NAMES)
    assert all(hasattr(lean3d, name) for name in NAMES)


def test_the_operators_are_these():
    assert set(OPERATORS) <= set(lean3d.ops.__all__)


def parameters(function):
    return [
        (p.name, p.default, p.kind.name) for p in inspect.signature(function).parameters.values()
    ]


def test_convert_and_count_have_their_fixed_signatures():
    empty, place, key = inspect.Parameter.empty, "POSITIONAL_OR_KEYWORD", "KEYWORD_ONLY"
    assert parameters(lean3d.convert) == [
        ("model", empty, place),
        ("how", empty, place),
        ("where", None, key),
        ("example", None, key),
        ("accept", None, key),
        ("budget", None, key),
        ("in_channels", None, key),
        ("num_classes", None, key),
    ]
    assert parameters(lean3d.count) == [
        ("model", empty, place),
        ("input_shape", empty, place),
        ("profile", "macs", key),
        ("training", False, key),
    ]


@pytest.mark.parametrize(
    ("how", "options"),
    [
        (lean3d.ACS, dict(split=None)),
        (lean3d.MeanACS, {}),
        (lean3d.SoftACS, {}),
        (lean3d.Planar, dict(axis=0)),
        (lean3d.Inflate, dict(depth=3, fill="mean", pad="replicate")),
    ],
)
def test_a_way_of_lifting_is_a_frozen_dataclass_with_its_fixed_options(how, options):
    assert is_dataclass(how)
    assert how.__dataclass_params__.frozen
    assert {f.name: f.default for f in fields(how)} == {**options, "keep_depth": 0}


@pytest.mark.parametrize(
    ("how", "options"),
    [
        (lean3d.SpaceTime, dict(form="2plus1d", mid_channels=None)),
        (
            lean3d.ParallelSeparable,
            dict(streams=1, depth=1, filters=None, relu=True, join="concat"),
        ),
        (lean3d.ChannelSeparated, dict(mode="ip", group_width=1, stem=False)),
        (lean3d.Atoms, dict(spatial=6, temporal=2, path=None)),
        (
            lean3d.Dissect,
            dict(skip="concat", frames=3, head="mean", window=16, first="replicate"),
        ),
    ],
)
def test_a_way_of_making_lean_or_causal_is_a_frozen_dataclass_with_its_fixed_options(how, options):
    assert is_dataclass(how)
    assert how.__dataclass_params__.frozen
    assert {f.name: f.default for f in fields(how)} == options


def test_every_public_name_says_what_it_is():
    for name in NAMES:
        if name != "__version__":
            assert inspect.getdoc(getattr(lean3d, name)), name
