"""Which of several equal ways is the fastest on this GPU: measured once for each case.

The process remembers what it measured. As with torch.backends.cudnn.benchmark, which also turns
this on, two runs may choose differently and differ in the last digits.
"""

import statistics
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from lean3d.kernels import device

__all__ = ["choices", "chosen", "fastest", "measures"]

Way = Callable[[], object]
# case -> the name of its fastest way
_chosen: dict[Hashable, str] = {}
ROUNDS, CALLS = 4, 3
# largest difference to the first way, over its largest value
ALLOWED = {torch.float32: 1e-2, torch.float16: 2e-2, torch.bfloat16: 5e-2}


def choices() -> dict[Hashable, str]:
    """Return what was chosen so far."""
    return dict(_chosen)


def chosen(case: Hashable) -> str | None:
    """Return the name of the way that was chosen for a case, if it was measured."""
    return _chosen.get(case)


def measures(x: Tensor) -> bool:
    """Whether torch was asked to measure, on a GPU that records no graph."""
    on_gpu = x.device.type == "cuda" and not torch.cuda.is_current_stream_capturing()
    return on_gpu and torch.backends.cudnn.benchmark


def fastest(
    case: Hashable,
    ways: Mapping[str, Way],
    x: Tensor,
    *,
    default: str,
    compiled: Sequence[str] = (),
) -> str:
    """Return the name of the fastest way; the first one always works.

    Args:
        case: All that the choice depends on.
        x: A tensor on the device.
        default: The way where nothing may be measured.
        compiled: Ways that are single kernels, which are compiled side by side.
    """
    if case in _chosen:
        return _chosen[case]
    if device.interpreted and x.device.type == "cpu":
        return default
    if x.device.type != "cuda" or torch.cuda.is_current_stream_capturing():
        return default
    # threads may measure the same case, with the same kind of result
    _compile([ways[name] for name in compiled], x.device)
    _chosen[case] = _measure(ways)
    return _chosen[case]


def _compile(ways: Sequence[Way], device: torch.device) -> None:
    """Run each way once, all at once: the compiler leaves the interpreter to other threads."""

    def run(way: Way) -> None:
        # what fails here fails again, and is left out, when it is measured
        with suppress(Exception), torch.no_grad(), torch.cuda.device(device):
            way()

    if len(ways) > 1:
        with ThreadPoolExecutor(len(ways)) as pool:
            list(pool.map(run, ways))
        torch.cuda.synchronize(device)


def _measure(ways: Mapping[str, Way]) -> str:
    expected = _tensors(next(iter(ways.values()))())
    running = {}
    for name, way in ways.items():
        try:
            found = _tensors(way())
        except Exception:  # a tile that this GPU has no room for
            continue
        if all(map(_agree, found, expected)):
            running[name] = way
    times: dict[str, list[float]] = {name: [] for name in running}
    for turn in range(ROUNDS + 1):
        for name, way in running.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(CALLS):
                way()
            end.record()
            end.synchronize()
            if turn:
                times[name].append(start.elapsed_time(end))
    return min(times, key=lambda name: statistics.median(times[name]))


def _tensors(found: object) -> Sequence[Tensor]:
    return [x.detach() for x in tree_leaves(found) if isinstance(x, Tensor)]


def _agree(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape:
        return False
    allowed = ALLOWED.get(expected.dtype, 1e-2)
    apart = (found.float() - expected.float()).abs().amax()
    # a difference that is not a number in both is the input's
    return not bool(apart > allowed * expected.float().abs().amax())
