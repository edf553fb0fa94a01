"""Curves of several seeds in a figure."""

from collections.abc import Sequence
from typing import Any

__all__ = ["draw_seeds"]


def draw_seeds(
    axes: Any, x: Sequence[float], curves: Sequence[Sequence[float]], shade: str, label: str
) -> None:
    """A thin line a seed, and a thick one for their mean as far as all go; nothing without curves.

    Args:
        x: Of the longest curve.
    """
    for curve in curves:
        axes.plot(x[: len(curve)], curve, color=shade, lw=0.7, alpha=0.5)
    if curves:
        means = [sum(values) / len(values) for values in zip(*curves, strict=False)]
        axes.plot(x[: len(means)], means, color=shade, lw=2, label=label)
