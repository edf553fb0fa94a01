"""Lean forms whose weights are read next: built, but neither fitted nor checked by values."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["is_unfitted", "unfitted"]

_thread = threading.local()


@contextmanager
def unfitted() -> Iterator[None]:
    """Leave the weights of lean forms random in this thread, since others will replace them."""
    before = is_unfitted()
    _thread.unfitted = True
    try:
        yield
    finally:
        _thread.unfitted = before


def is_unfitted() -> bool:
    """Whether this thread builds lean forms without fitting them."""
    return getattr(_thread, "unfitted", False)
