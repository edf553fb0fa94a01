"""Memory that is freed stays with the process, so that the next step does not fault it in again.

Measured by benchmarks/training_step.py, see docs/performance.md. The process holds more memory.
"""

import ctypes

from lean3d.errors import RunError

__all__ = ["keep_freed_memory"]

# of mallopt: M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD, and bytes
SETTINGS = ((-3, 1 << 30), (-1, 2**31 - 1), (-2, 64 << 20))


def keep_freed_memory() -> None:
    """Tell glibc's allocator to keep large blocks that are freed, until the process ends.

    Raises:
        RunError: the C library is not glibc.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        done = all(mallopt(name, size) for name, size in SETTINGS)
    except (OSError, AttributeError):
        done = False
    if not done:
        raise RunError("--fast-allocator needs glibc (Linux); leave it out, or preload jemalloc")
