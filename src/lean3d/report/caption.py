"""A frame of video with the model's output, now and over the last seconds.

Axes: H height, W width, C channels, K classes.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lean3d.optional import require
from lean3d.report.drawing import COLOURS

__all__ = ["Caption", "best"]

# sizes of the picture, its bars and its timeline, in pixels
WIDTH, ROW, TIMELINE, EDGE, NAME = 480, 20, 90, 10, 130
# frames of the timeline, more than its pixels show
MOST = 2000
GROUND, INK, FAINT = "#FFFFFF", "#222222", "#DDDDDD"


def best(probabilities_K: Tensor, names: Sequence[str], num: int = 5) -> list[tuple[str, float]]:
    """Return the most likely classes and their probabilities, best first."""
    values, places = probabilities_K.topk(min(num, len(names)))
    pairs = zip(places.tolist(), values.tolist(), strict=True)
    return [(names[place], value) for place, value in pairs]


class Caption:
    """Draws frame after frame of one video; below it five bars and a timeline.

    Args:
        names: Of the classes.
        seconds: The timeline's length.
    """

    def __init__(self, names: Sequence[str], seconds: float = 8.0):
        self.names, self.seconds = list(names), seconds
        self.past: deque[tuple[float, Tensor]] = deque()

    def draw(self, pixels_HWC: Tensor, probabilities_K: Tensor, seconds: float) -> Tensor:
        """Return the frame at least 480 wide, its bars and timeline, (H', W', 3) uint8."""
        self.past.append((seconds, probabilities_K))
        # timestamps of a broken source may stand still, or go back
        while len(self.past) > 1 and not self._shows(seconds - self.past[0][0]):
            self.past.popleft()
        image = require("PIL.Image", extra="video")
        frame = image.fromarray(pixels_HWC.contiguous().numpy())
        times = max(WIDTH / frame.width, 1)
        size = round(times * frame.width), round(times * frame.height)
        frame = frame.resize(size, image.Resampling.NEAREST if times > 4 else None)
        high = frame.height + 5 * ROW + TIMELINE + 3 * EDGE
        sheet = image.new("RGB", (frame.width, high), GROUND)
        sheet.paste(frame)
        pen = _Pen(sheet)
        self._bars(pen, frame.height + EDGE, best(probabilities_K, self.names))
        self._timeline(pen, frame.height + 5 * ROW + 2 * EDGE)
        return torch.from_numpy(np.asarray(sheet).copy())

    def _shows(self, age: float) -> bool:
        return 0 <= age <= self.seconds and len(self.past) <= MOST

    def _bars(self, pen: "_Pen", top: int, scores: list[tuple[str, float]]) -> None:
        left, right = EDGE + NAME, pen.width - EDGE - 50
        for row, (name, share) in enumerate(scores):
            y = top + row * ROW
            pen.text(EDGE, y, name)
            pen.box(left, y + 3, right, y + ROW - 3, FAINT)
            pen.box(left, y + 3, left + share * (right - left), y + ROW - 3, self._colour(name))
            pen.text(right + 8, y, f"{100 * share:.0f} %")

    def _timeline(self, pen: "_Pen", top: int) -> None:
        """Draw a line for every class that was among the three best within these seconds."""
        left, right, low = EDGE, pen.width - EDGE, top + TIMELINE
        for share in (0, 0.5, 1):
            pen.line([(left, low - share * TIMELINE), (right, low - share * TIMELINE)], FAINT, 1)
        values_TK = torch.stack([values for _, values in self.past])
        shown = values_TK.topk(min(3, len(self.names)), dim=1).indices.unique().tolist()
        end = max(self.past[-1][0], self.seconds)
        for place in shown:
            points = [
                (
                    right - (end - when) / self.seconds * (right - left),
                    low - float(values[place]) * TIMELINE,
                )
                for when, values in self.past
            ]
            pen.line(points, self._colour(self.names[place]), 2)

    def _colour(self, name: str) -> str:
        return COLOURS[self.names.index(name) % len(COLOURS)]


class _Pen:
    """Text, boxes and lines on a picture."""

    def __init__(self, sheet: Any):
        self.width = sheet.width
        self.draw = require("PIL.ImageDraw", extra="video").Draw(sheet)
        self.font = require("PIL.ImageFont", extra="video").load_default(14)

    def text(self, x: float, y: float, words: str) -> None:
        self.draw.text((x, y), words, INK, self.font)

    def box(self, left: float, top: float, right: float, low: float, colour: str) -> None:
        self.draw.rectangle((left, top, max(right, left), low), colour)

    def line(self, points: list[tuple[float, float]], colour: str, width: int) -> None:
        self.draw.line(points, colour, width, "curve")
