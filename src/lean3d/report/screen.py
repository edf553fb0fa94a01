"""A live table of the running streams, in a terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lean3d.optional import require

__all__ = ["Screen", "Shown"]

# columns of a bar, and of a name
BAR, NAME = 16, 24


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

    def __exit__(self, *error: object) -> None:
        if self.live is not None:
            self.live.update(table(self.parts), refresh=True)
            self.live.stop()

    def show(self, part: int, shown: Shown) -> None:
        """Update the row of one video."""
        self.parts[part] = shown
        if self.live is not None:
            self.live.update(table(self.parts), refresh=True)


def table(parts: Mapping[int, Shown]) -> Any:
    """One row per video: its rate and times, and beside them its most likely classes as bars.

    It fits a terminal of 80 columns.
    """
    grid = require("rich.table", extra="cli").Table(show_header=False)
    grid.add_column(no_wrap=True, min_width=NAME)
    grid.add_column(no_wrap=True)
    for _, part in sorted(parts.items()):
        # the end of a path is more specific than its beginning
        name = part.name if len(part.name) <= NAME else f"…{part.name[1 - NAME :]}"
        lines = [name, f"frame {part.frames}, {part.fps:.1f} fps"]
        lines += [f"median {part.median_ms:.1f} ms", f"p99 {part.p99_ms:.1f} ms"]
        lines += [f"{part.dropped} dropped"]
        bars = "\n".join(_bar(name, share) for name, share in part.best)
        grid.add_row("\n".join(lines), bars, end_section=True)
    return grid


def _bar(name: str, share: float) -> str:
    filled = round(share * BAR)
    return f"{'█' * filled}{'·' * (BAR - filled)} {100 * share:3.0f} % {name}"
