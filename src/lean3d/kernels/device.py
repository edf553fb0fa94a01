"""Where the Triton kernels run, and in which precision they multiply."""

import importlib.util
from functools import cache
from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor

__all__ = ["load", "multiplies_in", "reason", "runs_on"]

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# set by tests: run on a CPU too, under Triton's interpreter (TRITON_INTERPRET=1)
interpreted = False


@cache
def is_installed() -> bool:
    """Whether the package triton is there; torch for CUDA on Linux brings it."""
    return importlib.util.find_spec("triton") is not None


@cache
def load(name: str) -> ModuleType:
    """Import a module of kernels, which imports triton."""
    return import_module(f"lean3d.kernels.{name}")


def reason(x: Tensor) -> str | None:
    """Return why the kernels do not run on a tensor, None if they do."""
    if not is_installed():
        return "triton is not installed"
    if x.device.type != "cuda" and not (interpreted and x.device.type == "cpu"):
        return "Triton kernels run on a CUDA device"
    if x.dtype not in DTYPES:
        return f"Triton kernels take {', '.join(map(str, DTYPES))}, got {x.dtype}"
    # offsets in the kernels have 32 bits
    return "the tensor has 2**31 values or more" if x.numel() >= 2**31 else None


def runs_on(*tensors: Tensor) -> bool:
    """Whether the kernels run on these tensors."""
    return all(reason(x) is None for x in tensors)


def multiplies_in(dtype: torch.dtype) -> str:
    """Return how tensor cores multiply: in TF32 where torch's convolutions may use it.

    Three TF32 products of split operands have the error of single precision, and were chosen over
    single precision itself, which tensor cores do not have.
    """
    if dtype != torch.float32:
        return "tf32"  # not used
    return "tf32" if torch.backends.cudnn.allow_tf32 else "tf32x3"
