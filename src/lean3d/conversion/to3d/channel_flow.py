"""Trace which layers read the image's channels, and which layers produce the output channels.

Axes: B batch, C channels, H height, W width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lean3d.conversion.trace.compare import tensors
from lean3d.conversion.trace.inputs_2d import is_image
from lean3d.conversion.trace.trial_run import run_lightly
from lean3d.torch_functions import Trait, having
from lean3d.tracer import Args, Kwargs, Watch

__all__ = ["Mixing", "channel_flow", "is_plain", "set_counts"]

Sources = frozenset[str]  # paths of modules; "" for the image
MIXING = having(Trait.MIXES_CHANNELS)


@dataclass(frozen=True)
class Mixing:
    """A module that mixes channels, and the modules that produced its input channels."""

    path: str
    sources: Sources


def channel_flow(
    model: nn.Module, arguments: tuple[Any, ...]
) -> tuple[list[Mixing], list[tuple[Tensor, Sources]]]:
    """Return the modules that mix channels, in order; and the outputs with their sources."""
    watch = _Channels(model)
    result = watch.see(lambda: run_lightly(model, arguments))
    return watch.mixing, [(x, watch.origin(x)) for x in tensors(result)]


class _Channels(Watch):
    def __init__(self, model: nn.Module):
        super().__init__(model)
        self.marks: dict[int, tuple[Tensor, Sources]] = {}
        self.mixing: list[Mixing] = []

    def entered(self, path: str, args: Args, kwargs: Kwargs) -> None:
        if not self.stack:  # the model itself
            self._mark([x for x in tensors(args) if is_image(x)], frozenset({""}))

    def _mark(self, values: list[Tensor], sources: Sources) -> None:
        for x in values:
            self.marks[id(x)] = (x, sources)

    def origin(self, x: Tensor) -> Sources:
        return self.marks[id(x)][1] if id(x) in self.marks else frozenset()

    def called(
        self,
        path: str,
        function: Callable[..., object],
        args: Args,
        kwargs: Kwargs,
        result: object,
        before: object,
    ) -> None:
        sources: Sources = frozenset().union(*map(self.origin, tensors([args, kwargs])))
        if function in MIXING:
            self.mixing.append(Mixing(path, sources))
            sources = frozenset({path})
        self._mark(tensors(result), sources)


def is_plain(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether the weight of an ungrouped layer is its own parameter."""
    own = isinstance(module, kinds) and module._parameters.get("weight") is not None
    return own and getattr(module, "groups", 1) == 1


def set_counts(
    model: nn.Module, path: str, names: tuple[str, ...], before: int, after: int
) -> None:
    """Correct the channel attributes of a module and of the modules that contain it."""
    for outer, module in model.named_modules():
        if path == outer or path.startswith(f"{outer}.") or not outer:
            for name in names:
                if type(vars(module).get(name)) is int and vars(module)[name] == before:
                    vars(module)[name] = after
