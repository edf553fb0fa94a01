"""Makes recurrent layers go on from frame to frame.

Axes: B batch, L layers, H hidden, T time.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from lean3d.conversion.surgery.subclass import Mixed, mixed
from lean3d.conversion.to3d.base import refusal_at
from lean3d.ops.memory import carry

__all__ = ["carry_on", "reads_time"]


class Carried(Mixed):
    """An LSTM, GRU or RNN that begins where the frames before have left it.

    State: (B, L, H), twice for an LSTM.
    """

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        own: Any = self
        if hx is not None:
            return super().forward(input, hx)  # type: ignore[misc]
        clips = input.shape[0 if own.batch_first else 1]
        lstm = isinstance(own, nn.LSTM)
        sizes = [own.proj_size or own.hidden_size, *([own.hidden_size] if lstm else [])]
        old, put = zip(
            *(
                carry(own, name, input.new_zeros(clips, own.num_layers, size))
                for name, size in zip(("hidden", "cell"), sizes, strict=False)
            ),
            strict=True,
        )
        first = tuple(state_BLH.transpose(0, 1).contiguous() for state_BLH in old)
        y, last = super().forward(input, first if lstm else first[0])  # type: ignore[misc]
        for leave, state_LBH in zip(put, last if lstm else (last,), strict=True):
            leave(state_LBH.transpose(0, 1).contiguous())
        return y, last


def reads_time(module: nn.RNNBase, axes: Sequence[str] | None) -> bool:
    """Whether a layer goes through frames, given the axes of its input."""
    if axes is None or len(axes) != 3:
        return False
    return axes[1 if module.batch_first else 0] == "T"


def carry_on(path: str, module: nn.RNNBase) -> tuple[str, str]:
    """Make a layer keep its state from step to step; return its old and new names."""
    if module.bidirectional:
        raise refusal_at(path, module, "it reads time backwards; make it bidirectional=False")
    kind = type(module).__name__
    module.__class__ = mixed(Carried, type(module))
    return kind, f"{kind} that keeps its state"
