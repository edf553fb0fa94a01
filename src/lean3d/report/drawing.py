"""Common parts of the figures: size, colours, and embedding in a page.

Colours: Okabe and Ito, Color Universal Design, 2008: distinguishable with any colour blindness.
Figures are made without pyplot, so drawing leaves no state and needs no screen.
"""

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lean3d.files import write_whole
from lean3d.optional import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "color", "new_figure", "plain_axes", "png_uri", "save_figure", "svg_uri"]

# sky blue, orange, green, blue, purple, vermilion, yellow
COLOURS = ("#56B4E9", "#E69F00", "#009E73", "#0072B2", "#CC79A7", "#D55E00", "#F0E442")
INK = "#222222"
SVG = {"svg.fonttype": "path", "svg.hashsalt": "lean3d"}


def color(index: int) -> str:
    """Return the colour of class or run `index`, from 0; they repeat after seven."""
    return COLOURS[index % len(COLOURS)]


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure, in inches, on white."""
    return require("matplotlib.figure", extra="train").Figure((width, height), facecolor="white")


def plain_axes(axes: "Axes", xlabel: str, ylabel: str) -> None:
    """Label the axes, drop the frame, draw a faint grid behind the data."""
    axes.set_xlabel(xlabel, color=INK)
    axes.set_ylabel(ylabel, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK)


def svg_uri(figure: "Figure") -> str:
    """Return the figure as an SVG data URI; the same figure gives the same text."""
    matplotlib = require("matplotlib", extra="train")
    with matplotlib.rc_context(SVG):
        return _uri(figure, "svg", "image/svg+xml", metadata={"Date": None})


def png_uri(figure: "Figure", dpi: int = 110) -> str:
    """Return the figure as a PNG data URI, for pictures of volumes."""
    return _uri(figure, "png", "image/png", dpi=dpi)


def save_figure(figure: "Figure", path: str | Path) -> None:
    """Write `path`.svg and `path`.png; the same figure gives the same bytes."""
    matplotlib = require("matplotlib", extra="train")
    options: dict[str, dict[str, Any]] = {
        "svg": dict(metadata={"Date": None, "Creator": None}),
        "png": dict(metadata={"Software": None}, dpi=150),
    }
    for kind, more in options.items():
        with matplotlib.rc_context(SVG), write_whole(f"{path}.{kind}") as temporary:
            figure.savefig(temporary, format=kind, **more)


def _uri(figure: "Figure", kind: str, media: str, **options: Any) -> str:
    file = io.BytesIO()
    figure.savefig(file, format=kind, **options)
    return f"data:{media};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
