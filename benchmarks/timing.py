"""Ratios of times measured side by side: warmed up, interleaved, medians over rounds."""

import statistics
import time
from collections.abc import Callable

import torch

__all__ = ["ratios", "training_step"]


def ratios(calls: dict[str, Callable[[], object]], base: str, rounds: int) -> dict[str, float]:
    """Median over rounds of each call's time by that of `base` in the same round."""
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {
        name: round(statistics.median(s / b for s, b in zip(own, times[base], strict=True)), 2)
        for name, own in times.items()
    }


def training_step(module: torch.nn.Module, x: torch.Tensor) -> Callable[[], object]:
    """One forward and backward, gradients for the input and all weights."""
    x = x.detach().clone().requires_grad_()

    def step() -> None:
        module.zero_grad(set_to_none=True)
        x.grad = None
        module(x).sum().backward()

    return step
