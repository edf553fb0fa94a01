"""The most memory a piece of work held."""

import ctypes
import gc
import os
import re
import sys
from pathlib import Path

import torch

__all__ = ["PeakMemory"]

_MIB = 2**20


class PeakMemory:
    """Most memory held since construction, above what was held then.

    On a GPU: what tensors occupy there. Otherwise the resident memory of this process, whose
    high-water mark Linux can set back; elsewhere the mark is that of the process's whole life. What
    the process has freed and not given back is given back first, so that it cannot be used unseen.
    """

    def __init__(self, device: torch.device):
        self.device = device
        gc.collect()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self.start = torch.cuda.memory_allocated(device)
        else:
            _give_back()
            _forget_peak()
            self.start = _peak_resident()

    def mib(self) -> float:
        cuda = self.device.type == "cuda"
        peak = torch.cuda.max_memory_allocated(self.device) if cuda else _peak_resident()
        return round((peak - self.start) / _MIB, 1)


def _give_back() -> None:
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)


def _forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return  # not Linux, or not allowed: the mark stays


def _peak_resident() -> int:
    status = Path(f"/proc/{os.getpid()}/status")
    if status.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(found[1]) * 1024
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
