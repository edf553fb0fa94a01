"""Where networks come from, by the prefix of their reference: "timm:resnet18" is timm's.

A reference without a prefix is a registered model; `package.module:function` and
`file.py:function` are the user's own.
"""

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import nn

from lean3d.errors import LeanError, MissingExtraError, RunError
from lean3d.optional import require

__all__ = ["Asked", "Source", "import_zoo", "nearest", "refuse_weights"]


@dataclass(frozen=True)
class Asked:
    """What a network is built with; None leaves an argument to the network's own default.

    Args:
        name: The reference without its prefix.
        segment: Give a network that classifies images a decoder.
        dims: 2 or 3, for a family that has both.
        weights: True for the zoo's default, or a name; None for random weights.
        options: More arguments, by name.
    """

    reference: str
    name: str
    in_channels: int | None = None
    num_classes: int | None = None
    segment: bool = False
    dims: int = 3
    weights: str | bool | None = None
    options: dict[str, Any] = field(default_factory=dict)


# returns the network, and the names of the arguments that it was built with:
# in_channels, num_classes; a number that was asked for and is not among them is changed afterwards
Source = Callable[[Asked], tuple[nn.Module, set[str]]]


def import_zoo(name: str) -> ModuleType:
    """Import a package of the extra `zoo`; one that is broken gives one sentence.

    Raises:
        MissingExtraError: it is not installed, or built for another PyTorch.
    """
    try:
        return require(name, extra="zoo")
    except MissingExtraError as error:
        raise _unfit(name, error.__cause__ or error) or error from error
    except (RuntimeError, OSError, AttributeError) as error:
        unfit = _unfit(name, error)
        raise unfit or MissingExtraError(
            f"{name} is installed but cannot be imported ({_line(error)}); install it again"
        ) from error


def _unfit(name: str, error: BaseException) -> MissingExtraError | None:
    """Return the error for compiled operators of another PyTorch, if that is the problem."""
    line = _line(error)
    if not any(word in line for word in ("torchvision::", "undefined symbol", "torchvision/_C")):
        return None
    who = name if name == "torchvision" else f"{name} needs torchvision, which"
    return MissingExtraError(
        f"{who} is installed but was built for another PyTorch than {torch.__version__} ({line}); "
        "install the torchvision of the same index as torch, for a CPU: pip install --force-"
        "reinstall --no-deps torchvision --index-url https://download.pytorch.org/whl/cpu"
    )


def _line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]


def nearest(what: str, name: str, known: Iterable[str]) -> RunError:
    """Return the error for an unknown name, with the nearest known ones."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=3)
    few = known if len(known) <= 12 else [*known[:5], "..."]
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(few) or 'none'}"
    return RunError(f"no {what} called {name!r}; {hint}")


def refuse_weights(asked: Asked, why: str) -> LeanError:
    """Return the error for weights by name that the network does not have."""
    name = "pretrained" if asked.weights is True else asked.weights
    return RunError(f"{asked.reference} has no weights called {name}: {why}")
