"""Build a registered model from the arguments of a recipe or of the command line."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lean3d.errors import LeanError, RunError
from lean3d.limits import check_memory
from lean3d.models import create_model

__all__ = ["make_model"]

# of parameters and buffers; a ResNet of 200 layers has fewer than 2,000
MOST_TENSORS = 8_000


def make_model(name: str, arguments: dict[str, Any]) -> nn.Module:
    """Build a registered model; an argument that is None is left to the model's own default.

    Raises:
        RunError: the model does not take an argument, or cannot be built with it.
        LeanError: it would have too many layers, or not fit in memory; raised before it is built.
    """
    given = {key: value for key, value in arguments.items() if value is not None}
    try:
        _check_size(name, given)
        return create_model(name, **given)
    except LeanError:
        raise
    except (TypeError, ValueError, IndexError, ZeroDivisionError, OverflowError) as error:
        raise RunError(f"cannot build {name}: {error}") from error


def _check_size(name: str, given: dict[str, Any]) -> None:
    """Build it without memory first, and stop when it is too large."""
    try:
        with torch.device("meta"), _Size(name):
            create_model(name, **given)
    except LeanError:
        raise
    except RuntimeError as error:
        # the product of the sizes overflows
        if "overflow" in str(error):
            raise RunError(f"cannot build {name}: its layers are too large; give less") from error
    except Exception:
        # all other errors are raised when the model is built
        return


class _Size(TorchFunctionMode):
    """Counts the tensors created inside it, and their bytes, by storage."""

    def __init__(self, name: str):
        super().__init__()
        self.what, self.bytes = f"model {name}", 0
        # kept alive, so that no other storage gets its address
        self.known: dict[int, Any] = {}

    def __torch_function__(self, function: Any, types: object, args: Any = (), kwargs: Any = None):
        made = function(*args, **(kwargs or {}))
        if isinstance(made, Tensor):
            storage = made.untyped_storage()
            if storage._cdata not in self.known:
                self.known[storage._cdata] = storage
                self.bytes += storage.nbytes()
                self._check()
        return made

    def _check(self) -> None:
        remedy = "give fewer classes, channels or layers"
        if len(self.known) > MOST_TENSORS:
            raise RunError(f"{self.what} would have more than {MOST_TENSORS:,} tensors; {remedy}")
        if self.bytes > 1 << 28:
            check_memory(self.what, self.bytes, remedy)
