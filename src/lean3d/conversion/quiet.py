"""Trial runs that do not affect the rest of the process.

A conversion runs the model several times. Meanwhile the random numbers, cores, warnings and
stderr of other threads are unchanged.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["OwnRandomNumbers", "quietly"]


@contextmanager
def quietly() -> Iterator[None]:
    """Run in this thread without gradients and on one core."""
    with torch.no_grad(), _one_core():
        yield


@contextmanager
def _one_core() -> Iterator[None]:
    """Run the operators of this thread on one core.

    Tiny double-precision convolutions run group by group, so several cores mostly synchronise.
    Measured on two busy cores, EfficientNet-B0: 53 s with two threads, 1.0 s with one.
    """
    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    # the setting is per thread, but new threads start with the latest one of all
    again = threading.Thread(target=torch.set_num_threads, args=(cores,))
    again.start()
    again.join()
    try:
        yield
    finally:
        torch.set_num_threads(cores)


class OwnRandomNumbers(TorchDispatchMode):
    """Draw from generators seeded with 0, not from those shared by all threads."""

    def __init__(self) -> None:
        super().__init__()
        self.generators: dict[torch.device, torch.Generator] = {}

    def __torch_dispatch__(
        self,
        function: torch._ops.OpOverload,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        seeded = _seeded(function)
        if seeded is None or (kwargs and kwargs.get("generator") is not None):
            return function(*args, **(kwargs or {}))
        kwargs = kwargs or {}
        device = _device(args, kwargs)
        if device.type == "meta":  # meta tensors draw nothing
            return function(*args, **kwargs)
        if device not in self.generators:
            self.generators[device] = torch.Generator(device).manual_seed(0)
        return seeded(*args, **kwargs | {"generator": self.generators[device]})


def _device(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.device:
    first = next((x for x in args if isinstance(x, torch.Tensor)), None)
    return torch.device(kwargs.get("device") or "cpu") if first is None else first.device


@cache
def _seeded(function: torch._ops.OpOverload) -> torch._ops.OpOverload | None:
    """Return the function with an argument `generator`; None if it draws nothing or lacks one."""
    if torch.Tag.nondeterministic_seeded not in function.tags:
        return None
    names = _names(function)
    if "generator" in names:
        return function
    overloads = [getattr(function.overloadpacket, o) for o in function.overloadpacket.overloads()]
    return next((o for o in overloads if _names(o) == names | {"generator"}), None)


def _names(function: torch._ops.OpOverload) -> frozenset[str]:
    return frozenset(argument.name for argument in function._schema.arguments)
