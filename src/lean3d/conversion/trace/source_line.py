"""Find the line of a model's own code that is running, or that failed."""

import traceback
from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path

from lean3d import tracer

__all__ = ["running_line", "stopping_line"]

PACKAGE = Path(__file__).parents[2]
OURS = (str(PACKAGE / "conversion"), str(PACKAGE / "ops"), tracer.__file__)


def running_line() -> str:
    """Return the innermost line of the model's code; "" if only torch's own modules are running."""
    stack = traceback.extract_stack(limit=40)
    while _is_ours(stack[-1]):  # skip the caller's frames
        stack.pop()
    return _first(takewhile(lambda frame: not _is_ours(frame), reversed(stack)))


def stopping_line(error: Exception) -> str:
    """Return the innermost line of the model's code in an error's traceback, else ""."""
    frames = reversed(traceback.extract_tb(error.__traceback__))
    return _first(frame for frame in frames if not _is_ours(frame))


def _first(frames: Iterable[traceback.FrameSummary]) -> str:
    outside = (frame for frame in frames if "/torch/" not in frame.filename)
    return next((f"{frame.filename}:{frame.lineno}: {frame.line}" for frame in outside), "")


def _is_ours(frame: traceback.FrameSummary) -> bool:
    return frame.filename.startswith(OURS)
