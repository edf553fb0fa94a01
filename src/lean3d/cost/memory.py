"""Bytes of the tensors created by a pass: their sum, and the peak alive at one time.

Tensors are tracked by their storage, so views and in-place writes add nothing. Workspaces of
kernels and the state of an optimizer are not counted.
"""

import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

__all__ = ["Memory", "tensor_bytes", "training_peak"]


def tensor_bytes(tree: object) -> int:
    """Return bytes of the tensors in nested arguments; an expanded one counts its storage."""
    leaves = (leaf for leaf in tree_iter(tree) if isinstance(leaf, Tensor))
    return sum(min(t.numel() * t.element_size(), t.untyped_storage().nbytes()) for t in leaves)


class Memory:
    """Tracks every storage from the call that creates it to its release."""

    def __init__(self) -> None:
        self.alive = self.peak = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def know(self, tree: object) -> None:
        """Register tensors that existed before, such as weights, at no cost."""
        for tensor in tree_iter(tree):
            if isinstance(tensor, Tensor):
                self._known.add(tensor.untyped_storage())

    def add(self, tree: object) -> int:
        """Track the new storages in `tree`; return their bytes."""
        return sum(self._follow(tensor) for tensor in tree_iter(tree) if isinstance(tensor, Tensor))

    def _follow(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        if storage in self._known:
            return 0
        self._known.add(storage)
        size = storage.nbytes()
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._release, size).atexit = False
        return size

    def _release(self, size: int) -> None:
        self.alive -= size


class _Following(TorchDispatchMode):
    def __init__(self, memory: Memory):
        super().__init__()
        self._memory = memory

    def __torch_dispatch__(self, function: Any, types: object, args: Any = (), kwargs: Any = None):
        output = function(*args, **(kwargs or {}))
        self._memory.add(output)
        return output


def training_peak(model: nn.Module, inputs: list[Tensor]) -> int | None:
    """Return the peak bytes of forward and backward: weights, gradients, buffers, activations.

    None if there is nothing to train, or meta tensors have no backward.
    """
    memory = Memory()
    memory.add([*model.parameters(), *model.buffers(), *inputs])
    try:
        with torch.enable_grad(), torch.device("meta"), _Following(memory):
            answers = [y for y in tree_iter(model(*inputs)) if isinstance(y, Tensor)]
            sums = [y.sum() for y in answers if y.requires_grad]
            torch.autograd.backward(sums)
    # an operator without a backward on meta may raise anything
    except Exception:
        return None
    return memory.peak if sums else None
