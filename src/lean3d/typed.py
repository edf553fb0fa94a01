"""Compare the values of a dataclass's fields with their declared types."""

from dataclasses import fields
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from lean3d.errors import LeanError

__all__ = ["check_arguments", "check_kind", "check_types", "fits", "shortened"]

WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "text"}
WORDS |= {NoneType: "None"}


def check_types(record: Any, error: type[LeanError] = LeanError) -> None:
    """Refuse a dataclass whose values are of other types than its fields declare.

    Raises:
        LeanError: or the class given; names the field, its type and what was got.
    """
    hints = get_type_hints(type(record))
    for field in fields(record):
        value = getattr(record, field.name)
        if not fits(value, hints[field.name]):
            kind, got = describe(hints[field.name]), shortened(value)
            raise error(f"{type(record).__name__}: {field.name} is {kind}, got {got}")


def check_kind(who: str, value: Any, kind: Any, expected: str) -> None:
    """Refuse an argument of another type.

    Raises:
        LeanError: says who takes what, and what was got.
    """
    if not fits(value, kind):
        raise LeanError(f"{who} takes {expected}, got {shortened(value)}")


def check_arguments(owner: Any, **given: Any) -> None:
    """Refuse arguments of other types than the constructor of `owner` declares.

    Raises:
        LeanError: names the argument, its type and what was got.
    """
    kind: Any = type(owner)
    hints = _declared(kind)
    for name, value in given.items():
        if name in hints and not fits(value, hints[name]):
            wanted, got = describe(hints[name]), shortened(value)
            raise LeanError(f"{kind.__name__}: {name} is {wanted}, got {got}")


@cache
def _declared(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind.__init__)


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a type: of numbers, text, None, tuples, literals and unions of them."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(fits(value, part) for part in parts)
    if origin is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if parts[1:] == (...,):
            return all(fits(item, parts[0]) for item in value)
        return len(value) == len(parts) and all(map(fits, value, parts))
    if kind in (int, float):
        number = Integral if kind is int else Real
        return isinstance(value, number) and not isinstance(value, bool)
    return kind is Any or isinstance(value, kind)


def shortened(value: Any) -> str:
    """Describe a value, in one line of at most 80 characters; an array by its shape."""
    shape = getattr(value, "shape", None)
    what = f"of shape {tuple(shape)}" if isinstance(shape, tuple) else " ".join(repr(value).split())
    shown = f"{type(value).__name__} {what}"
    return f"{shown[:77]}..." if len(shown) > 80 else shown


def describe(kind: Any) -> str:
    """Describe a type in words."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(map(describe, parts))
    if origin is Literal:
        return " or ".join(map(repr, parts))
    if origin is tuple:
        several = parts[1:] == (...,)
        many = "any number" if several else str(len(parts))
        return f"a tuple of {many}, each {describe(parts[0])}"
    return WORDS.get(kind, getattr(kind, "__name__", str(kind)))
