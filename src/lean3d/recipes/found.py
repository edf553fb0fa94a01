"""What a run found in its data, in lines: told when all is checked, or when that takes a while."""

import threading
from collections.abc import Callable

__all__ = ["Held"]

# seconds in which a run is usually refused, if it is: its sentence is then the only one
SOON_S = 1.0


class Held:
    """Holds lines back until `release`, or until `SOON_S` have passed; then tells them at once.

    Args:
        tell: Called with each line, in order.
        hold: Whether to hold lines back at all.
    """

    def __init__(self, tell: Callable[[str], None], *, hold: bool = True):
        self._tell, self._open, self._lock = tell, not hold, threading.Lock()
        self._lines: list[str] = []
        self._timer = threading.Timer(SOON_S, self.release)
        self._timer.daemon = True

    def __enter__(self) -> "Held":
        if not self._open:
            self._timer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()

    def __call__(self, line: str) -> None:
        with self._lock:
            if self._open:
                self._tell(line)
            else:
                self._lines.append(line)

    def release(self) -> None:
        """Tell the lines that are held, and those that come at once."""
        with self._lock:
            self._open = True
            for line in self._lines:
                self._tell(line)
            self._lines.clear()
