"""Check plain values, as read from JSON, against the annotations of a dataclass."""

import math
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from lean3d.errors import RunError

__all__ = ["LARGEST", "typed"]

# of integers: the range of 64 bits
LARGEST = 2**63 - 1
WORDS = {
    bool: "true or false",
    int: "a whole number of at most 64 bits",
    float: "a finite number",
    str: "text",
    type(None): "null",
}


def typed(kind: type, values: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Convert the values to the fields of `kind`: lists to tuples, whole numbers to floats.

    Args:
        owner: Name of the values' owner, for the message.

    Raises:
        RunError: a value does not match its field's annotation.
    """
    hints = get_type_hints(kind)
    return {name: _fitted(value, hints[name], f"{owner}: {name}") for name, value in values.items()}


def _fitted(value: Any, hint: Any, name: str) -> Any:
    for one in _choices(hint):
        fits, fitted = _fit(value, one, name)
        if fits:
            return fitted
    raise RunError(f"{name} is {_said(hint)}, got {_shown(value)}")


def _fit(value: Any, hint: Any, name: str) -> tuple[bool, Any]:
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            return False, None
        of = get_args(hint)[0]
        return True, tuple(_fitted(v, of, f"{name}[{place}]") for place, v in enumerate(value))
    if get_origin(hint) is Literal:
        # a list equals no text, and is not hashable
        return isinstance(value, str) and value in get_args(hint), value
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST
    if hint is float:
        fits = whole or (isinstance(value, float) and math.isfinite(value))
        return fits, float(value) if fits else None
    return whole if hint is int else isinstance(value, hint), value


def _choices(hint: Any) -> tuple[Any, ...]:
    """Return the types a value may have: the parts of a union, or the single type."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _said(hint: Any) -> str:
    words = []
    for one in _choices(hint):
        if get_origin(one) is Literal:
            words.append(f"one of {', '.join(get_args(one))}")
        elif get_origin(one) is tuple:
            words.append(f"a list, each {_said(get_args(one)[0])}")
        else:
            words.append(WORDS[one])
    return " or ".join(words)


def _shown(value: Any) -> str:
    # Python refuses to write out thousands of digits
    if isinstance(value, int) and abs(value) > LARGEST:
        return f"one of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
