"""Calls that are recorded and run again on inputs of other sizes.

An operator's choice for speed by the size of its input holds for that input alone. In a recorded
call (torch.export, torch.compile with dynamic sizes, torch.jit.trace, the ONNX exporters) it must
not limit the program, so there it uses a path that is right for all sizes. An eager call keeps its
measured choice.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.torch_version import TorchVersion

__all__ = ["holds", "is_plain", "is_transformed"]

# older ones cannot compile a call of `statically_known_true`
COMPILES = TorchVersion(torch.__version__) >= "2.8"


def holds(condition: Any) -> bool:
    """Whether a comparison of sizes is true of every input the call will be run on."""
    if torch.jit.is_tracing() or (torch.compiler.is_dynamo_compiling() and not COMPILES):
        return False
    if torch.compiler.is_compiling() or isinstance(condition, torch.SymBool):
        # takes a quarter of a second to import, which eager calls can avoid
        from torch.fx.experimental.symbolic_shapes import statically_known_true

        return statically_known_true(condition)
    return bool(condition)


def is_transformed() -> bool:
    """Whether torch.func or forward-mode differentiation traces the call."""
    if torch.compiler.is_compiling():
        return False
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def is_plain(x: Tensor) -> bool:
    """Whether nothing records or traces the call, so that any kernel of ATen may be used."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    return type(x) is Tensor and not is_transformed()
