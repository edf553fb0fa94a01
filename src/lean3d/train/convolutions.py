"""Refuses to train where torch computes a convolution wrongly in bfloat16.

oneDNN, by which torch computes on CPUs, has kernels that are wrong for some shapes, without a word
or as NaN: outputs of small maps on CPUs with AMX, gradients of weights on those without, and of
depthwise weights on all with AVX-512.
"""

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from lean3d.errors import RunError

__all__ = ["CheckConvolutions"]

aten = torch.ops.aten
# what each gives, in the words of a message
GIVES = {
    aten.convolution.default: ("output",),
    aten.convolution_backward.default: (
        "gradient of the input",
        "gradient of the weight",
        "gradient of the bias",
    ),
}
# of an output's size; rounding to bfloat16 is off by 0.003
WRONG = 0.1


class CheckConvolutions(pl.Callback):
    """Computes the convolutions of the first batches in float32 as well, on a CPU in bfloat16.

    Raises:
        RunError: one is off by more than rounding, in the first step or the first validation.
    """

    def __init__(self) -> None:
        self.checked: set[str] = set()
        self.open: _Compared | None = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, *_: object
    ) -> None:
        self._begin("train", module)

    def on_train_batch_end(self, *_: object) -> None:
        self._end()

    def on_validation_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, *_: object
    ) -> None:
        self._begin("validate", module)

    def on_validation_batch_end(self, *_: object) -> None:
        self._end()

    def on_exception(self, *_: object) -> None:
        if self.open is not None:
            self.open.__exit__(None, None, None)
            self.open = None

    def _begin(self, stage: str, module: pl.LightningModule) -> None:
        if stage in self.checked or module.device.type != "cpu":
            return
        self.checked.add(stage)
        self.open = _Compared()
        self.open.__enter__()

    def _end(self) -> None:
        if self.open is None:
            return
        wrong = self.open.wrong
        self.on_exception()
        if wrong:
            raise RunError(
                f"torch {torch.__version__} computes {wrong} wrongly in bfloat16 on this CPU; "
                "use precision 32"
            )


class _Compared(TorchDispatchMode):
    """What is wrong of the convolutions in it, the first one in words; empty if none is."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong = ""

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: tuple[Tensor, ...] = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if func in GIVES and args[0].dtype is torch.bfloat16 and not self.wrong:
            exact = func(*map(_single, args), **(kwargs or {}))
            outputs = (found, exact) if isinstance(exact, tuple) else ((found,), (exact,))
            for name, ours, true in zip(GIVES[func], *outputs, strict=True):
                if true is not None and _apart(ours, true):
                    self.wrong = _words(name, func, args)
        return found


def _single(value: object) -> object:
    return value.float() if isinstance(value, Tensor) else value


def _apart(found: Tensor, exact: Tensor) -> bool:
    size = exact.norm()
    # a network that has become infinite is told of elsewhere
    return bool(size.isfinite()) and not bool((found.float() - exact).norm() <= WRONG * size)


def _words(name: str, func: OpOverload, args: tuple[Tensor, ...]) -> str:
    values, weight = (args if func is aten.convolution.default else args[1:])[:2]
    kernel, maps = ("x".join(map(str, tensor.shape[2:])) for tensor in (weight, values))
    shape = f"{kernel} with {values.shape[1]} channels on maps of {maps}"
    return f"the {name} of a convolution of {shape}"
