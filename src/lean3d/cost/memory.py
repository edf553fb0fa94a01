"""Bytes of the tensors a forward pass creates, all of them and the most alive at one time.

Tensors are followed by their storage, so views and in-place writes add nothing.
"""

import weakref
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_iter

__all__ = ["Memory"]


class Memory:
    """Follows every storage from the call that creates it to its release."""

    def __init__(self) -> None:
        self.alive = self.peak = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def know(self, tree: Any) -> None:
        """Take in tensors that were there before, such as weights: they cost nothing."""
        for tensor in tree_iter(tree):
            if isinstance(tensor, Tensor):
                self._known.add(tensor.untyped_storage())

    def add(self, tree: Any) -> int:
        """Follow the new storages in `tree`; return their bytes."""
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
