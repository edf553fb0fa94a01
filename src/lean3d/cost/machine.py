"""What computes here, in words: results are compared only on the same machine."""

import os
import platform
from pathlib import Path

import torch

__all__ = ["hardware"]


def hardware() -> str:
    """Return the GPU, or the processor and the number of cores that this process may use."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return gpu or f"{processor()}, {len(_cores())} cores"


def processor() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _cores() -> set[int]:
    known = hasattr(os, "sched_getaffinity")
    return set(os.sched_getaffinity(0)) if known else set(range(os.cpu_count() or 1))
