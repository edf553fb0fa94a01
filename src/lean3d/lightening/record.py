"""What was chosen for each convolution, and how fast the result is: `model.lightening`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lean3d.lightening.cut import Cut
from lean3d.report import format_table

__all__ = ["UNITS", "Layer", "Lightening", "columns", "shown"]

UNITS = {
    "time": "ms",
    "macs": "multiply-adds",
    "params": "parameters",
    "memory": "bytes",
    "step": "ms",
    "state": "bytes",
}


@dataclass(frozen=True)
class Layer:
    """One convolution, or a run of them, before and after.

    Args:
        path: Of the convolution; of a run, of the last one.
        after: Its form, and the channels that are left.
        before_cost, after_cost: Of the target's kind; of time, of the convolution and what is
            fused into it, timed alone.
        error: What the choice cost by the criterion.
        second: The next best form of the same channels, and what it would have cost.
    """

    path: str
    before: str
    after: str
    before_cost: float
    after_cost: float
    error: float
    second: str = ""


@dataclass(frozen=True)
class Lightening:
    """The record of `lean3d.lighten`; `str()` is a table.

    Args:
        target: What was limited: time, macs, params, memory, step or state.
        wanted: The limit, in ms, multiply-adds, parameters or bytes.
        before: The same of the network that was given.
        predicted: Of the result, from its parts before it was built.
        measured: Of the result itself, beside the given network in the same rounds.
        backend: By which both were timed.
        machine: On which.
        cuts: What each module became, as `restructure` and recipes take it.
    """

    target: str
    wanted: float
    before: float
    predicted: float
    measured: float
    layers: tuple[Layer, ...]
    cuts: tuple[Cut, ...]
    criterion: str
    backend: str = ""
    machine: str = ""

    @property
    def ratio(self) -> float:
        """What is left, as a share."""
        return self.measured / self.before

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each convolution, as plain values."""
        return [asdict(layer) for layer in self.layers]

    def table(self, width: int | None = None) -> str:
        return format_table(self.rows(), columns(self.target), width=width)

    def summary(self) -> str:
        """Return one line: what was asked for, predicted and found."""
        unit, by = UNITS[self.target], f" by {self.backend}" if self.backend else ""
        over = self.measured / self.wanted - 1
        missed = f"; missed by {over:.1%}, about what two measurements differ by"
        return (
            f"{self.target}: {shown(self.measured)} {unit}{by}, {self.ratio:.2f} of "
            f"{shown(self.before)}; predicted {shown(self.predicted)}, "
            f"at most {shown(self.wanted)} asked for{missed if over > 0.001 else ''}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        own = {k: v for k, v in vars(self).items() if k not in ("layers", "cuts")}
        texts: Sequence[str] = [str(cut) for cut in self.cuts]
        return own | {"ratio": self.ratio, "layers": self.rows(), "cuts": list(texts)}

    def __str__(self) -> str:
        return f"{self.table()}\n{self.summary()}"


def columns(target: str) -> dict[str, str]:
    """Return the heads of the table of convolutions, by the fields of a `Layer`."""
    return {
        "path": "convolution",
        "after": "became",
        "before_cost": f"{UNITS[target]} before",
        "after_cost": "after",
        "error": "error",
        "second": "next best",
    }


def shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
