"""Measure a stream: frames per second, and the time of each frame."""

import math
import time
from collections import deque
from collections.abc import Iterable

import numpy as np

__all__ = ["Durations", "Meter"]

# frames over which the rate on screen is averaged
RECENT = 30
# milliseconds from a tenth of a microsecond to ten days fall into bins, each 1 % longer than the
# previous one
LEAST, MOST, GROWTH = 1e-4, 1e9, 1.01


class Durations:
    """Counts of milliseconds in bins of equal ratio: percentiles in constant memory.

    A percentile is exact to 0.5 %, and within the minimum and the maximum recorded.
    """

    def __init__(self) -> None:
        self._bins = np.zeros(1 + _bin(MOST), dtype=np.int64)
        self._least, self._most = math.inf, 0.0

    def append(self, milliseconds: float) -> None:
        self._bins[_bin(milliseconds)] += 1
        self._least = min(self._least, milliseconds)
        self._most = max(self._most, milliseconds)

    def extend(self, milliseconds: Iterable[float]) -> None:
        for value in milliseconds:
            self.append(value)

    def __len__(self) -> int:
        return int(self._bins.sum())

    def percentile(self, share: float) -> float:
        """Return a percentile of the durations; 0 if there are none."""
        upto = self._bins.cumsum()
        if not upto[-1]:
            return 0.0
        # of n in order, the first is the 0th percentile and the last the 100th
        rank = 1 + round(share / 100 * (int(upto[-1]) - 1))
        if rank in (1, upto[-1]):
            return self._least if rank == 1 else self._most
        middle = LEAST * GROWTH ** (int(upto.searchsorted(rank)) + 0.5)
        return min(max(middle, self._least), self._most)


def _bin(milliseconds: float) -> int:
    within = min(max(milliseconds, LEAST), MOST)
    return int(math.log(within / LEAST) / math.log(GROWTH))


class Meter:
    """Frames processed, their rate, and percentiles of their milliseconds.

    The cost of a frame is constant, however many there were.
    """

    def __init__(self) -> None:
        self.milliseconds = Durations()
        self.frames = 0
        self._started: float | None = None
        self._ends: deque[float] = deque(maxlen=RECENT + 1)

    def add(self, milliseconds: float) -> None:
        """Record a frame whose output is there."""
        now = time.perf_counter()
        self._started = self._started or now - milliseconds / 1000
        self._ends.append(now)
        self.milliseconds.append(milliseconds)
        self.frames += 1

    @property
    def recent_fps(self) -> float:
        """Frames a second over the last ones."""
        if len(self._ends) < 2:
            return 0.0
        return (len(self._ends) - 1) / max(self._ends[-1] - self._ends[0], 1e-9)

    @property
    def fps(self) -> float:
        """Frames a second from the first to the last."""
        if self._started is None:
            return 0.0
        return self.frames / max(self._ends[-1] - self._started, 1e-9)

    def percentile(self, share: float) -> float:
        """Return a percentile of the frames' milliseconds, to 0.5 %."""
        return self.milliseconds.percentile(share)
