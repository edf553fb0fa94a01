"""How fast a stream runs: frames a second, and the time each frame takes."""

import time
from collections import deque

import numpy as np

__all__ = ["Meter"]

# frames that the rate on screen looks back on
RECENT = 30


class Meter:
    """Frames answered, their rate, and percentiles of their milliseconds."""

    def __init__(self) -> None:
        self.milliseconds: list[float] = []
        self._started: float | None = None
        self._ends: deque[float] = deque(maxlen=RECENT + 1)

    def add(self, milliseconds: float) -> None:
        """Note a frame that was answered just now."""
        now = time.perf_counter()
        self._started = self._started or now - milliseconds / 1000
        self._ends.append(now)
        self.milliseconds.append(milliseconds)

    @property
    def frames(self) -> int:
        return len(self.milliseconds)

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
        """Milliseconds that so many percent of the frames did not exceed."""
        return float(np.percentile(self.milliseconds, share)) if self.milliseconds else 0.0
