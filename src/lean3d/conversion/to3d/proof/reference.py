"""The 2D reference of the self-checks: double precision, randomised weights, and its outputs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from lean3d.conversion.surgery.copies import duplicate, precise_copy, without_memory
from lean3d.conversion.tolerance import ROUNDINGS, TO_3D
from lean3d.conversion.trace.compare import difference, tensors
from lean3d.conversion.trace.input_sizes import Sample, find_sample
from lean3d.conversion.trace.trial_run import run_lightly
from lean3d.errors import ConversionError
from lean3d.tracer import Args, Function, Kwargs, Watch

__all__ = ["Output2D", "Reference2D", "make_reference", "randomised_gains", "with_values"]

TINY = 1e-2
PLAIN = (bool, int, float, str, slice, torch.dtype, type(None))  # arguments that are compared

Values = list[tuple[Tensor, Tensor]]  # parameters, and their temporary values


@dataclass(frozen=True)
class Output2D:
    """The output of the 2D model on the sample.

    Args:
        values: The parameters that were changed for it.
    """

    note: str
    values: Values
    expected: Any


@dataclass(frozen=True)
class Reference2D:
    """A copy of the 2D model in eval mode, and images it runs on.

    Args:
        meta: Another copy, on the meta device, if it runs there.
    """

    model: nn.Module
    sample: Sample
    dtype: torch.dtype
    meta: nn.Module | None = None

    @cached_property
    def light(self) -> nn.Module:
        """Return a copy to run when only sizes are needed."""
        return self.meta if self.meta is not None else duplicate(self.model)

    @cached_property
    def light_sample(self) -> Sample:
        """Return the images on the device of that copy."""
        return self.sample if self.meta is None else self.sample.on_meta

    @cached_property
    def turned(self) -> "Reference2D | None":
        """Return the same with images as wide as these are high, where the forward differs then.

        None if it calls the same modules and functions with the same weights and numbers on both,
        or runs on one size alone.
        """
        tall = self.light_sample
        wide = replace(tall, size=tall.size[::-1])
        try:
            runs = [_called(self.light, sample.arguments) for sample in (tall, wide)]
        except Exception:  # a user's forward may raise anything
            return None
        if runs[0] == runs[1]:
            return None
        return replace(self, sample=replace(self.sample, size=wide.size))

    @cached_property
    def outputs(self) -> list[Output2D]:
        """Yield outputs with randomised zero-initialised parameters, and with own weights."""
        gains = randomised_gains(self.model)
        trials = [(", zero gains made random", gains), ("", [])] if gains else [("", gains)]
        found = [output for trial in trials if (output := self._output(*trial)) is not None]
        if not found:
            raise ConversionError(
                f"{type(self.model).__name__}: its 2D output is not finite, so nothing can be "
                "compared with it; pass example=, an input for which it is"
            )
        return found

    def _output(self, note: str, values: Values) -> Output2D | None:
        with with_values(values):
            expected = run_lightly(self.model, self.sample.arguments)
            if not tensors(expected):
                raise ConversionError(
                    f"{type(self.model).__name__} returns a {type(expected).__name__} without "
                    "tensors, so its conversion cannot be checked; return tensors, or lists or "
                    "dicts of them"
                )
            if not all(tensor.isfinite().all() for tensor in tensors(expected)):
                return None
            return Output2D(note, values, expected)

    def tolerance(self, output: Output2D, error: float) -> float:
        """Return the error tolerance, scaled by the sensitivity to a one-ulp input change."""
        least, most = TO_3D[self.dtype]
        if not least < error <= most:
            return least
        eps = torch.finfo(self.dtype).eps

        draw = torch.Generator().manual_seed(0)

        def nudged(x: object) -> Any:
            if not isinstance(x, Tensor) or not x.is_floating_point():
                return x
            return x * (1 + eps * torch.randn(x.shape, generator=draw).sign().to(x))

        with with_values(output.values):
            other = run_lightly(self.model, tuple(map(nudged, self.sample.arguments)))
        return min(max(least, ROUNDINGS * difference(output.expected, other, 2)), most)


class _Calls(Watch):
    """What a forward calls in order, with which weights and numbers."""

    def __init__(self, model: nn.Module):
        super().__init__(model)
        own = [*model.named_parameters(), *model.named_buffers()]
        self.weights = {id(weight): name for name, weight in own}
        self.found: list[object] = []

    def entered(self, path: str, args: Args, kwargs: Kwargs) -> None:
        self.found.append(path)

    def calls(self, path: str, function: Function, args: Args, kwargs: Kwargs) -> None:
        self.found.append(getattr(function, "__name__", ""))
        self.found += map(self._said, tree_leaves((args, kwargs)))

    def _said(self, leaf: object) -> object:
        if isinstance(leaf, Tensor):
            return self.weights.get(id(leaf), "")
        return leaf if isinstance(leaf, PLAIN) else type(leaf)


def _called(model: nn.Module, arguments: tuple[Any, ...]) -> list[object]:
    watch = _Calls(model)
    watch.see(lambda: run_lightly(model, arguments))
    return watch.found


def make_reference(
    model: nn.Module, example: object, before: Sequence[tuple[int, int]] = ()
) -> Reference2D:
    """Return the 2D model and a sample that runs, in double precision and on meta if possible.

    Args:
        before: Sizes of images to try before all others.
    """
    error: Exception | None = None
    for dtype in (torch.float64, torch.float32):  # a forward may call .float()
        model_2d = precise_copy(model, dtype)
        for meta in (_without_memory(model_2d), None):
            try:
                sample = find_sample(model_2d, meta, example, before)
                return Reference2D(model_2d, sample, dtype, meta)
            except ConversionError as why:
                error = why
    assert error is not None
    raise error


def _without_memory(model: nn.Module) -> nn.Module | None:
    with suppress(Exception):  # a module may refuse the move
        return without_memory(model)
    return None


@contextmanager
def with_values(values: Values) -> Iterator[None]:
    """Set parameters to other values temporarily."""
    before = [parameter.clone() for parameter, _ in values]
    try:
        for parameter, value in values:
            parameter.copy_(value)
        yield
    finally:
        for (parameter, _), own in zip(values, before, strict=True):
            parameter.copy_(own)


def randomised_gains(model: nn.Module) -> Values:
    """Return random values for parameters that are zero or tiny, so that every branch contributes.

    A zero-initialised last norm or a layer scale of 1e-6 would hide all errors of its branch.
    """
    generator = torch.Generator().manual_seed(1)
    return [
        (parameter, _random_values(name, parameter, generator).to(parameter))
        for name, parameter in model.named_parameters()
        if parameter.is_floating_point() and parameter.numel() and parameter.abs().max() < TINY
    ]


def _random_values(name: str, like: Tensor, generator: torch.Generator) -> Tensor:
    if name.endswith("bias"):
        return 0.1 * torch.randn(like.shape, generator=generator)
    sides = [side for side in like.shape if side > 1]
    if len(sides) < 2:  # a gain per channel
        return 0.5 + torch.rand(like.shape, generator=generator)
    return torch.randn(like.shape, generator=generator) / like[0].numel() ** 0.5
