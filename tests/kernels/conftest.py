"""Kernels run on a GPU if there is one, else on the CPU under Triton's interpreter."""

import dataclasses

import pytest
import torch

from lean3d.kernels import device


@pytest.fixture
def kernel_device(monkeypatch):
    if torch.cuda.is_available():
        return torch.device("cuda")
    monkeypatch.setattr(device, "interpreted", True)
    from triton.runtime.interpreter import interpreter_builder as builder

    # checking every sum of integers for overflow takes longer than all the rest
    options = dataclasses.replace(builder.options, sanitize_overflow=False)
    monkeypatch.setattr(builder, "options", options)
    return torch.device("cpu")


@pytest.fixture
def precise():
    """Multiply in single precision."""
    cudnn = torch.backends.cudnn
    # torch's own test inputs forbid to set it in any other way
    with cudnn.flags(enabled=cudnn.enabled, benchmark=cudnn.benchmark, allow_tf32=False):
        yield
