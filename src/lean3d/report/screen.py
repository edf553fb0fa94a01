"""What runs, in a terminal, a few times a second."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lean3d.optional import require

__all__ = ["Screen", "Shown"]

# columns of a bar, and of a name
BAR, NAME = 16, 20


@dataclass(frozen=True)
class Shown:
    """One video's part of the screen; times in milliseconds."""

    name: str
    frames: int
    fps: float
    median_ms: float
    p99_ms: float
    dropped: int
    best: Sequence[tuple[str, float]]


class Screen:
    """A live table on stderr where that is a terminal, `with Screen() as screen:`."""

    def __init__(self) -> None:
        console = require("rich.console", extra="cli").Console(stderr=True)
        self.live: Any = None
        if console.is_terminal:
            live = require("rich.live", extra="cli").Live
            self.live = live(console=console, auto_refresh=False)
        self.parts: dict[int, Shown] = {}

    def __enter__(self) -> "Screen":
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(self, *error: Any) -> None:
        if self.live is not None:
            self.live.update(table(self.parts), refresh=True)
            self.live.stop()

    def show(self, part: int, shown: Shown) -> None:
        """Put one video's numbers in its place."""
        self.parts[part] = shown
        if self.live is not None:
            self.live.update(table(self.parts), refresh=True)


def table(parts: Mapping[int, Shown]) -> Any:
    """A row a video: its rate and times, and its likeliest classes as bars."""
    grid = require("rich.table", extra="cli").Table(expand=False)
    grid.add_column("video", no_wrap=True, max_width=NAME)
    for head in ("frame", "fps", "median ms", "p99 ms", "dropped"):
        grid.add_column(head, justify="right", no_wrap=True, min_width=len(head))
    grid.add_column("classes", no_wrap=True)
    for _, part in sorted(parts.items()):
        numbers = f"{part.fps:.1f}", f"{part.median_ms:.1f}", f"{part.p99_ms:.1f}"
        # the end of a path says more than its beginning
        name = part.name if len(part.name) <= NAME else f"…{part.name[1 - NAME :]}"
        bars = "\n".join(_bar(name, share) for name, share in part.best)
        grid.add_row(name, str(part.frames), *numbers, str(part.dropped), bars, end_section=True)
    return grid


def _bar(name: str, share: float) -> str:
    filled = round(share * BAR)
    return f"{'█' * filled}{'·' * (BAR - filled)} {100 * share:3.0f} % {name}"
