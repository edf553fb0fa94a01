"""Find consecutive 3D convolutions that one operator can replace.

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lean3d.conversion.lean.dense import is_dense
from lean3d.conversion.trace.graph import Flow, trace
from lean3d.conversion.trace.inputs_3d import run as run_model
from lean3d.tracer import Args, Kwargs, Watch

__all__ = ["Run", "find_runs", "joins"]


@dataclass(frozen=True)
class Run:
    """Convolutions replaced by one operator, and the modules between them, which are removed.

    Args:
        given, wanted: Input of the first and output of the last, on the example.
    """

    convs: tuple[str, ...]
    between: tuple[str, ...]
    given: Tensor
    wanted: Tensor


def find_runs(
    model: nn.Module, most: int, sites: dict[str, nn.Conv3d], arguments: tuple[Tensor, ...]
) -> list[Run]:
    """Return runs of 2 to `most` convolutions; pools, branches and functions end a run."""
    flow = trace(model, arguments)
    pieces = [
        piece for numbers in flow.runs(is_dense) for piece in _pieces(flow, numbers, sites, most)
    ]
    ends = {path for piece in pieces for path in (piece[0][0], piece[0][-1])}
    seen = _maps(model, ends, arguments)
    return [Run(convs, between, seen[convs[0]][0], seen[convs[-1]][1]) for convs, between in pieces]


def _pieces(
    flow: Flow, numbers: list[int], sites: dict[str, nn.Conv3d], most: int
) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    pieces: list[tuple[list[str], list[str]]] = []
    for place, number in enumerate(numbers):
        path = flow.calls[number].path
        if path not in sites:
            continue
        last = pieces[-1][0] if pieces else []
        middle = _between(flow, numbers[place - 1], number) if place else None
        follows = bool(last) and place > 0 and flow.calls[numbers[place - 1]].path == last[-1]
        if (
            follows
            and middle is not None
            and len(last) < most
            and joins(sites[last[0]], sites[path])
        ):
            last.append(path)
            pieces[-1][1].extend(middle)
        else:
            pieces.append(([path], []))
    return [(tuple(convs), tuple(between)) for convs, between in pieces if len(convs) > 1]


def _between(flow: Flow, first: int, last: int) -> list[str] | None:
    """Return the modules between two convolutions; None if one of them cannot be removed."""
    paths, number = [], flow.calls[first].users[0]
    while number != last:
        path = flow.calls[number].path
        if not path or sum(call.path == path for call in flow.calls) > 1:
            return None
        paths.append(path)
        number = flow.calls[number].users[0]
    return paths


def joins(first: nn.Conv3d, later: nn.Conv3d) -> bool:
    """Whether one operator can replace both: equal kernels, and the second preserves sizes."""
    names = ("kernel_size", "dilation", "groups", "padding_mode")
    alike = all(getattr(first, name) == getattr(later, name) for name in names)
    reach = [d * (k - 1) for d, k in zip(later.dilation, later.kernel_size, strict=True)]
    padding: Any = later.padding
    same = padding == "same" or [2 * pad for pad in padding] == reach
    return alike and first.groups == 1 and same and later.stride == (1, 1, 1)


def _maps(
    model: nn.Module, paths: set[str], arguments: tuple[Tensor, ...]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the inputs and the outputs of modules."""
    watch = _Maps(model, paths)
    watch.see(lambda: run_model(model, arguments))
    return watch.maps


class _Maps(Watch):
    def __init__(self, model: nn.Module, paths: set[str]):
        super().__init__(model, paths)
        self.maps: dict[str, tuple[Tensor, Tensor]] = {}

    def left(self, path: str, args: Args, kwargs: Kwargs, output: Tensor) -> None:
        # the layers after it may work in place
        self.maps[path] = args[0].clone(), output.clone()
