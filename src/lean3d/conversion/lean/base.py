"""Base class of the ways to make a 3D convolution lean.

Axes: G groups, O outputs and I inputs of a group, then the kernel's depth, height and width.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

from lean3d.conversion.lean.dense import settings
from lean3d.conversion.lean.runs import Run
from lean3d.errors import ConversionError
from lean3d.typed import check_types

__all__ = ["Fit", "Lean", "place"]

Operator = TypeVar("Operator", bound=nn.Module)


@dataclass(frozen=True)
class Fit:
    """An operator with its parameters, and the kernel (C', C/groups, kd, kh, kw) it equals."""

    operator: nn.Module
    kernel: Tensor


class Lean(ABC, Generic[Operator]):
    """A lean form: the operator that replaces a dense 3D convolution, and its fit to the kernel.

    `Lean[AtomConv3d]` builds and fills an `AtomConv3d`.

    Extend it by a frozen dataclass under `register_method`; `build` and `fill` have to be written,
    the others have defaults.
    """

    @property
    def takes_stem(self) -> bool:
        """Whether the first convolution of a network is replaced too."""
        return True

    @property
    def longest_run(self) -> int:
        """The most consecutive convolutions that become one operator, see `fit_run`."""
        return 1

    def alone(self) -> "Lean[Operator]":
        """Return the form for a convolution outside of runs."""
        return self

    def __post_init__(self) -> None:
        check_types(self, ConversionError)

    def takes(self, conv: nn.Conv3d) -> bool:
        """Whether it can be factorised: by default, if it extends over both time and plane."""
        return conv.kernel_size[0] > 1 and max(conv.kernel_size[1:]) > 1

    @abstractmethod
    def build(self, conv: nn.Conv3d, **like: object) -> Operator:
        """Return the operator that replaces `conv`, with parameters not yet fitted."""

    @abstractmethod
    def fill(self, operator: Operator, kernel: Tensor, bias: nn.Parameter | None) -> Tensor:
        """Fit the parameters to `kernel` (G, O, I, ...); return the kernel they equal."""

    def choices(self, conv: nn.Conv3d) -> "list[Lean[Operator]]":
        """Return the same form at other ranks, for a budget to choose from."""
        return [self]

    def errors(self, conv: nn.Conv3d, kernel: Tensor, choices: "list[Any]") -> list[float]:
        """Return the squared distance to `kernel` for each of the choices."""
        found = []
        for choice in choices:
            operator = choice.build(conv, device="meta", dtype=kernel.dtype)
            fitted = choice.fill(operator.to_empty(device="cpu"), kernel, None)
            found.append(float((fitted - kernel).square().sum()))
        return found

    def build_run(self, model: nn.Module, run: Run) -> Operator:
        """Return the operator that replaces consecutive convolutions, not yet fitted."""
        raise NotImplementedError

    def fit_run(self, model: nn.Module, run: Run) -> tuple[Operator, float]:
        """Return that operator fitted, and the relative error of its output on the example."""
        raise NotImplementedError

    def calibrate(self, operators: list[nn.Module], run: Callable[[], object]) -> None:
        """Adjust fitted operators on the inputs they get while `run` runs the network."""
        return

    def arguments(self, conv: nn.Conv3d, like: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of nn.Conv3d that are passed to the operator."""
        return {**settings(conv), "device": "meta", "dtype": conv.weight.dtype, **like}


def place(module: nn.Module, name: str, value: Tensor | None) -> None:
    """Copy values into a parameter; a parameter replaces it."""
    if isinstance(value, nn.Parameter) or value is None:
        module._parameters[name] = value
        return
    own = module.get_parameter(name)
    module._parameters[name] = nn.Parameter(value.reshape(own.shape).to(own).contiguous())
