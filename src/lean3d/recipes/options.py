"""Parse arguments of a model written as words: "skip=full convs=1"."""

import json
from collections.abc import Sequence
from typing import Any

from lean3d.errors import RunError
from lean3d.recipes.typed import LARGEST

__all__ = ["read_options"]

# constants in the lower case of JSON
PYTHON = {"True": True, "False": False, "None": None}


def read_options(words: Sequence[str]) -> dict[str, Any]:
    """Return name and value of each word; a value is parsed as JSON or Python, or is text."""
    return dict(_read(word) for word in words)


def _read(word: str) -> tuple[str, Any]:
    name, equals, value = word.partition("=")
    if not name.isidentifier() or not equals:
        raise RunError(f"an option is name=value, such as convs=1, got {word!r}")
    if value in PYTHON:
        return name, PYTHON[value]
    try:
        return name, json.loads(value, parse_int=_whole, parse_constant=_infinite)
    except json.JSONDecodeError:
        return name, value
    except RecursionError as error:
        raise RunError(f"the value of option {name} has too many brackets") from error


def _whole(digits: str) -> int:
    # Python refuses to read thousands of digits
    if len(digits) > 19 or abs(int(digits)) > LARGEST:
        raise RunError(f"an option is a number of at most 64 bits, got one of {len(digits)} digits")
    return int(digits)


def _infinite(word: str) -> float:
    raise RunError(f"an option is a finite number, got {word}")
