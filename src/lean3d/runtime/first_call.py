"""A network that is optimised at its first call, when the size of its input is known."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.runtime.choose import optimize
from lean3d.runtime.optimized import Following, Optimized, forget
from lean3d.runtime.step import OptimizedStream

__all__ = ["OptimizedAtFirstCall"]


class OptimizedAtFirstCall(Following):
    """A network for inference that `optimize` makes fast for the input of its first call.

    Once it is moved, its next call does so again. A copy or a pickle holds the network alone.

    Args:
        model: The network; set to eval mode.
        choices: File of earlier choices, as `optimize` takes it.
        say: Called with a sentence on what was chosen.
        precision: What convolutions are computed in, as `optimize` takes it.
        calibration: For int8, called for the inputs to calibrate on, each like that of a call.
    """

    def __init__(
        self,
        model: nn.Module,
        choices: Path | None = None,
        say: Callable[[str], None] = lambda sentence: None,
        precision: str = "float32",
        calibration: Callable[[], Sequence[Tensor]] | None = None,
    ):
        super().__init__()
        self.model, self.choices, self.say = model.eval(), choices, say
        self.precision, self.calibration = precision, calibration
        self.forget()
        self.register_load_state_dict_post_hook(forget)

    def forget(self) -> None:
        """Optimise again at the next call; the weights changed."""
        # a list, so that the optimised copy is not registered as well
        self._fast: list[Optimized | OptimizedStream] = []
        self._lock = threading.Lock()

    def forward(self, *inputs: Any, **named: Any) -> Any:
        if named:
            return self.model(*inputs, **named)
        with self._lock:
            if not self._fast:
                # a graph cannot be recorded in inference mode, nor of tensors made in it
                with torch.inference_mode(False):
                    example = tuple(x.clone() for x in inputs)
                    self._fast.append(self._optimized(example))
                self.say(self._said())
        return self._fast[0](*inputs)

    def _optimized(self, example: tuple[Tensor, ...]) -> Optimized | OptimizedStream:
        samples = None
        if self.calibration is not None:
            samples = [x.to(example[0].device) for x in self.calibration()]
        options: Any = dict(choices=self.choices, precision=self.precision, calibration=samples)
        return optimize(self.model, example, **options)

    def _said(self) -> str:
        fast = self._fast[0]
        row = next(row for row in fast.rows() if row["backend"] == fast.backend)
        cost = f", its outputs {row['rms']:.1%} apart" if row["rms"] == row["rms"] else ""
        name = fast.backend if self.precision == "float32" else f"{fast.backend} ({self.precision})"
        if row["ms"] != row["ms"]:
            return f"the network runs by {name}, as chosen before{cost}"
        return (
            f"the network runs by {name}: {row['ms']:.3g} ms a call, {row['ratio']:.2f} of "
            f"the time it takes as it is{cost}"
        )

    def train(self, mode: bool = True) -> "OptimizedAtFirstCall":
        """Stay in eval mode."""
        return super().train(False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_fast": [], "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.forget()
