"""Measure peak memory."""

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
    """Peak memory since construction, above the memory held then.

    On a GPU: the memory of its tensors. Otherwise the resident memory of this process, whose
    high-water mark can be reset on Linux; elsewhere the mark is that of the process's whole life.
    Freed memory is returned to the system first, so that its reuse is measured too.
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
        return  # not Linux, or not allowed: the mark is not reset


def _peak_resident() -> int:
    status = Path(f"/proc/{os.getpid()}/status")
    if status.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(found[1]) * 1024
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
