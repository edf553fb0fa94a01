"""Depth merged into height, for forwards that are pointwise or global.

Axes: B batch, C channels, D depth, H height, W width.
"""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lean3d.conversion.to3d.base import DepthMerge
from lean3d.conversion.to3d.merged.active import innermost
from lean3d.conversion.to3d.merged.sides import mark, marked_depth
from lean3d.tracer import Args, Function, Kwargs

__all__ = ["Marks", "Spread"]


class Spread:
    """Depth merged into height: (B, C, D, H, W) as (B, C, D*H, W)."""

    def __init__(self, merge: DepthMerge):
        self.merge = merge
        self.seen: list[tuple[int, int, int]] = []  # D*H, W, D
        # volumes of different depth have equal sizes while that is merged into height
        self.ambiguous = False

    def enter(self, x: object) -> Any:
        return self.merge_depth(x, 1 if self.merge.channels_last_in else 2)

    def merge_depth(self, x: Any, place: int = 2) -> Any:
        if not isinstance(x, Tensor) or x.ndim != 5:
            return x
        depth, height, width = x.shape[place : place + 3]
        size, merged = (depth * height, width, depth), x.flatten(place, place + 1)
        if torch.compiler.is_compiling() or torch.jit.is_tracing():  # sizes may be symbols
            self.seen.append(size)
            return merged
        if size not in self.seen:
            self.ambiguous |= any(size[:2] == other[:2] for other in self.seen)
            self.seen.append(size)
        return mark(merged, depth)

    def split_depth(self, x: object) -> Any:
        return self._split_depth(x, 2)

    def leave(self, x: object) -> Any:
        return self._split_depth(x, 1 if self.merge.channels_last_out else 2)

    def _split_depth(self, x: object, place: int) -> Any:
        if not isinstance(x, Tensor) or x.ndim != 4:
            return x
        for tall, wide, depth in (*self.seen, (1, 1, 1)):
            if x.shape[place] == tall and x.shape[place + 1] == wide:
                if self.ambiguous:
                    depth = marked_depth(x) or depth
                sizes = (*x.shape[:place], depth, tall // depth, *x.shape[place + 1 :])
                return x.reshape(sizes)
        return x


class Marks(TorchFunctionMode):
    """Notes on what functions return the depth of their first map, where sizes do not say it."""

    def __init__(self, spread: Spread):
        super().__init__()
        self.spread = spread

    def __torch_function__(
        self, function: Function, types: object, args: Args = (), kwargs: Kwargs | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if innermost() is not self.spread:
            return result
        depth = marked_depth((args, kwargs))
        return result if depth is None else mark(result, depth)
