from dataclasses import dataclass
from typing import Literal

import pytest

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
        lambda: lean3d.load_checkpoint(odd, "w.pt"),
        lambda: lean3d.decompose(odd, lean3d.Atoms()),
    ):
        with pytest.raises(LeanError):
            call()


@pytest.mark.parametrize("odd", [None, 5, b"x", []])
def test_functions_that_take_a_name_say_so(odd):
    for call in lambda: lean3d.list_models(odd), lambda: lean3d.create_model(odd):
        with pytest.raises(LeanError, match="takes"):
            call()
