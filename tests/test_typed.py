from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn

import lean3d
from lean3d.errors import ConversionError, LeanError
from lean3d.typed import check_types, fits


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (1, int, True),
        (True, int, False),
        (1.5, int, False),
        (1, float, True),
        ("1", float, False),
        (None, int | None, True),
        ("full", int | Literal["full"] | None, True),
        ("half", int | Literal["full"] | None, False),
        (True, Literal[1, 2], False),
        ([1], Literal[1, 2], False),
        ((1, 2, 3), tuple[int, int, int], True),
        ((1, 2), tuple[int, int, int], False),
        ((), tuple[str, ...], True),
        (("a", 1), tuple[str, ...], False),
        ([1, 2, 3], tuple[int, int, int], False),
    ],
)
def test_a_value_fits_its_type_or_not(value, kind, expected):
    assert fits(value, kind) is expected


def test_the_field_its_type_and_what_was_got_are_named():
    @dataclass
    class Sizes:
        width: int
        names: tuple[str, ...] = ()

    check_types(Sizes(3, ("a",)))
    with pytest.raises(LeanError, match=r"Sizes: width is a whole number, got str 'x'"):
        check_types(Sizes("x"))
    with pytest.raises(LeanError, match=r"names is a tuple of any number, each text, got str 'xxx"):
        check_types(Sizes(1, "x" * 999))


@pytest.mark.parametrize(
    "make",
    [
        lambda odd: lean3d.ACS(split=odd),
        lambda odd: lean3d.ACS(keep_depth=odd),
        lambda odd: lean3d.Atoms(spatial=odd),
        lambda odd: lean3d.ChannelSeparated(group_width=odd),
        lambda odd: lean3d.ChannelSeparated(mode=odd),
        lambda odd: lean3d.ParallelSeparable(streams=odd),
        lambda odd: lean3d.SpaceTime(mid_channels=odd),
        lambda odd: lean3d.Dissect(window=odd),
        lambda odd: lean3d.Dissect(frames=odd),
    ],
)
def test_what_a_conversion_cannot_use_is_refused_when_it_is_named(make):
    for odd in "x", 1.5, object(), [[]], lean3d.create_model("unet2d", widths=(2, 4)):
        with pytest.raises(ConversionError) as refused:
            make(odd)
        assert len(str(refused.value)) < 300


@pytest.mark.parametrize("odd", [None, 5, b"x", []])
def test_functions_that_take_a_module_say_so(odd):
    for call in (
        lambda: lean3d.count(odd, (1, 1, 8, 8)),
        lambda: lean3d.fold(odd),
        lambda: lean3d.unconvert(odd),
        lambda: lean3d.load_checkpoint(odd, "w.pt"),
        lambda: lean3d.decompose(odd, lean3d.Atoms()),
    ):
        with pytest.raises(LeanError):
            call()


LAZY = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.LazyConv2d(2, 3)))


@pytest.mark.parametrize(
    "call",
    [
        lambda: lean3d.count(LAZY, (1, 1, 8, 8)),
        lambda: lean3d.stream(LAZY.eval()),
        lambda: lean3d.fold(LAZY),
        lambda: lean3d.optimize(LAZY, torch.zeros(1, 1, 8, 8)),
        lambda: lean3d.load_checkpoint(LAZY, "w.pt"),
    ],
    ids=["count", "stream", "fold", "optimize", "load_checkpoint"],
)
def test_a_layer_without_sizes_is_named(call):
    with pytest.raises(LeanError, match=r"1\.0 \(LazyConv2d\) has weights without sizes.*call the"):
        call()


@pytest.mark.parametrize("where", [nn.Linear(1, 1), nn.ReLU(), 5, "x", int])
def test_what_does_not_select_modules_is_refused(where):
    for net, how in (
        (nn.Conv2d(1, 2, 3), lean3d.ACS()),
        (nn.Conv3d(1, 2, 3), lean3d.Atoms()),
        (nn.Conv3d(1, 2, 3), lean3d.Dissect()),
    ):
        with pytest.raises(ConversionError, match=r"^where(\(path, module\)| is called as where)"):
            lean3d.convert(nn.Sequential(net), how, where=where)


@pytest.mark.parametrize(
    ("operator", "odd"),
    [
        (lean3d.ops.ACSConv3d, dict(split=5)),
        (lean3d.ops.AtomConv3d, dict(spatial=2.5)),
        (lean3d.ops.AtomConv3d, dict(spatial=10**30)),
        (lean3d.ops.CausalConv3d, dict(past="x")),
        (lean3d.ops.ChannelSeparatedConv3d, dict(group_width=None)),
        (lean3d.ops.ParallelSeparableConv3d, dict(depth=10**30)),
        (lean3d.ops.PlanarConv3d, dict(axis=[0])),
        (lean3d.ops.SpaceTimeConv3d, dict(mid_channels=(1, 2))),
        (lean3d.ops.MeanACSConv3d, dict(stride=(1.5, 1, 1))),
        (lean3d.ops.SoftACSConv3d, dict(groups="1")),
        (lean3d.ops.CausalConv3d, dict(kernel_size=object())),
    ],
)
def test_what_an_operator_cannot_use_is_refused_when_it_is_built(operator, odd):
    with pytest.raises(LeanError) as refused:
        operator(**dict(in_channels=4, out_channels=4, kernel_size=3) | odd)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("odd", [None, 5, "x", [1.0]])
def test_operators_take_tensors(odd):
    with pytest.raises(LeanError, match=r"takes a tensor"):
        lean3d.ops.ACSConv3d(1, 3, 3)(odd)


@pytest.mark.parametrize(
    "odd", [np.ones((1, 2, 30)), torch.ones(1, 2, 30), np.ones((9, 9)).tolist()]
)
def test_arrays_are_named_by_their_shape_and_all_else_in_one_line(odd):
    for call in (
        lambda: lean3d.ops.ACSConv3d(2, 3, 3)(odd if isinstance(odd, np.ndarray) else [odd]),
        lambda: lean3d.count(nn.Conv3d(1, 1, 1), odd),
        lambda: lean3d.list_models(odd),
    ):
        with pytest.raises(LeanError, match=r"of shape \(1, 2, 30\)|list \[|\.\.\.") as refused:
            call()
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("odd", [None, 5, b"x", []])
def test_functions_that_take_a_name_say_so(odd):
    for call in lambda: lean3d.list_models(odd), lambda: lean3d.create_model(odd):
        with pytest.raises(LeanError, match="takes"):
            call()
