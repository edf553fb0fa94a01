"""Small tensors on shared cores: one thread each is faster and steadier than two that wait."""

import gc
import os
import sys

import pytest

# before torch is imported, and inherited by the processes that tests start
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

# Triton's kernels are tested without a GPU by its interpreter, which it chooses when imported
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(autouse=True)
def _compiled_anew():
    """Forget what other tests compiled: torch compiles a function only so often in a process."""
    if "torch._dynamo" in sys.modules:
        sys.modules["torch._dynamo"].reset()


def pytest_collection_finish():
    """Leave out of every search for garbage what was imported and collected, which stays."""
    gc.collect()
    gc.freeze()
    # with both, half of the time that the search took: 3 of 134 s of short tests
    gc.set_threshold(10_000, 20, 20)
