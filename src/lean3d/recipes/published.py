"""The input of published weights as the look and the window of clips."""

from typing import Any

from lean3d.checkpoints import Preprocessing
from lean3d.data.look import Look

__all__ = ["published_look"]


def published_look(
    known: Preprocessing | None, size: int | None, default: int, channels: int = 3
) -> Look:
    """Return what the clips looked like that weights were trained on.

    Args:
        known: As `load_checkpoint` tells it; None for weights of one's own.
        size: Height and width instead of the published ones.
        default: Of weights that do not tell them.
    """
    if known is None:
        return Look((size or default,) * 2, channels=channels)
    colours: dict[str, Any] = {}
    if known.mean and known.std and len(known.mean) == channels:
        colours["mean"] = tuple(value / known.white for value in known.mean)
        colours["std"] = tuple(value / known.white for value in known.std)
    side = size or known.size or default
    if known.short_side is not None:
        # the same part of the frame at another size
        short = round(known.short_side * side / (known.size or side))
        colours["short_side"] = (short, short)
    return Look((side, side), channels=channels, **colours)
