"""Rules of matrix products and einsum in a step of a delayed network: frames are never summed.

Axes: B batch (streams), T time; an einsum names them by letters of its own.
"""

from collections.abc import Mapping
from dataclasses import replace
from string import ascii_letters
from typing import Any

import torch
from torch import Tensor

from lean3d.streaming.delayed_step import Frames, Rule, frames_of, marked
from lean3d.streaming.timing import Timed

__all__ = ["PRODUCTS"]


def einsum(step: Frames, equation: Any, *operands: Any) -> Tensor:
    """Run an einsum that keeps streams and frames."""
    given = operands[0] if len(operands) == 1 and not isinstance(operands[0], Tensor) else operands
    if not isinstance(equation, str):
        step.refuse(torch.einsum, "takes its axes as lists of numbers instead of letters")
    return _product(step, torch.einsum, equation, list(given))


def matmul(step: Frames, x: Tensor, other: Tensor, **more: Any) -> Tensor:
    """Run a product of matrices within each frame."""
    if more or min(x.ndim, other.ndim) < 2:
        step.refuse(torch.matmul, "multiplies by a vector, or writes into out=")
    rows = ascii_letters[: max(x.ndim, other.ndim) - 2]
    left, right = (rows[len(rows) + 2 - y.ndim :] for y in (x, other))
    return _product(step, torch.matmul, f"{left}XY,{right}YZ->{rows}XZ", [x, other])


def _product(step: Frames, function: object, equation: str, maps: list[Tensor]) -> Tensor:
    if any(getattr(frames_of(x), "each", 1) != 1 for x in maps):
        step.refuse(function, "multiplies maps whose frames share an axis with something else")
    terms, result = _spelt_out(equation, [x.ndim for x in maps])
    aligned, last = step.aligned(maps, function)
    named = {
        (term[frames.batch], term[frames.axis])
        for term, x in zip(terms, maps, strict=True)
        if isinstance(frames := frames_of(x), Timed)
    }
    if len(named) > 1:
        step.refuse(function, "multiplies frames with other frames")
    ((stream, frame),) = named
    if stream not in result or frame not in result:
        step.refuse(function, "sums over streams or frames")
    for term, x in zip(terms, maps, strict=True):
        if frames_of(x) is None and {stream, frame} & set(term):
            step.refuse(
                function,
                "combines frames with a constant that differs by frame or stream",
            )
        if isinstance(frames_of(x), Timed) and (term.count(stream), term.count(frame)) != (1, 1):
            step.refuse(function, "takes a diagonal of streams or frames")
    y = torch.einsum(f"{','.join(terms)}->{result}", *aligned)
    batch, axis = result.index(stream), result.index(frame)
    return marked(y, replace(last, batch=batch, axis=axis, each=1))


def _spelt_out(equation: str, dims: list[int]) -> tuple[list[str], str]:
    """Return the letters of every operand and of the result, without dots and with an arrow."""
    given, arrow, result = equation.replace(" ", "").partition("->")
    terms = given.split(",")
    free = [letter for letter in ascii_letters if letter not in equation]
    most = max(n - len(t.replace("...", "")) for t, n in zip(terms, dims, strict=True))
    dots = "".join(free[: max(most, 0)])

    def whole(term: str, num: int) -> str:
        more = num - len(term.replace("...", ""))
        return term.replace("...", dots[len(dots) - more :])

    spelt = [whole(term, num) for term, num in zip(terms, dims, strict=True)]
    if not arrow:
        once = [x for x in sorted(set("".join(terms)) - {"."}) if "".join(terms).count(x) == 1]
        return spelt, dots + "".join(once)
    return spelt, result.replace("...", dots)


PRODUCTS: Mapping[Any, Rule] = {
    torch.einsum: einsum,
    **dict.fromkeys((torch.matmul, Tensor.matmul, Tensor.__matmul__), matmul),
}
