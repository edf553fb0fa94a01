"""A Cost as aligned text, every unit in its column's name, and as comma-separated values."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from lean3d.table import lay_out, wrap

if TYPE_CHECKING:
    from lean3d.cost.result import Cost, LayerCost

__all__ = ["cost_csv", "cost_table"]

COLUMNS = "path type output params macs interactions activation_bytes moved_bytes macs_per_byte"


class Line(NamedTuple):
    names: tuple[str, str, str]
    params: int
    macs: int
    interactions: int
    activation_bytes: int
    moved_bytes: int


def cost_csv(layers: Sequence[LayerCost]) -> str:
    """One line a layer, plain numbers, sizes as 1x64x8x56x56."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS.split())
    for layer in layers:
        names, *counts = _line(layer)
        intensity = f"{layer.macs_per_byte:.4f}"
        writer.writerow([layer.path, layer.type, names[2], *counts, intensity])
    return text.getvalue()


def cost_table(cost: Cost, layers: Sequence[LayerCost], width: int | None = None) -> str:
    """Layers with parameters or multiply-adds one by one, the others summed, then the total."""
    shown = [_line(layer) for layer in layers if layer.params or layer.macs]
    quiet = [_line(layer) for layer in layers if not (layer.params or layer.macs)]
    other = Line(("other modules", f"{len(quiet)} of them", ""), *_sums(quiet))
    total = Line(("total", f"profile {cost.profile}", ""), *_sums([*shown, other]))
    table = lay_out(_columns([*shown, other, total]), right=range(3, 8), width=width, total=True)
    return f"{table}\n{wrap(_summary(cost), width)}"


def _line(layer: LayerCost) -> Line:
    names = layer.path or "(the model)", layer.type, _times(layer.output_shape)
    counts = layer.params, layer.macs, layer.interactions
    return Line(names, *counts, layer.activation_bytes, layer.moved_bytes)


def _sums(lines: list[Line]) -> tuple[int, int, int, int, int]:
    return (
        sum(line.params for line in lines),
        sum(line.macs for line in lines),
        sum(line.interactions for line in lines),
        sum(line.activation_bytes for line in lines),
        sum(line.moved_bytes for line in lines),
    )


def _columns(lines: list[Line]) -> list[list[str]]:
    """Headers and cells; the last line, the total, sets the units."""
    names = zip(("layer", "type", "output"), *(line.names for line in lines), strict=True)
    return [
        *map(list, names),
        _column("params ({})", [line.params for line in lines]),
        _column("{}MACs", [line.macs for line in lines]),
        _column("interactions ({})", [line.interactions for line in lines]),
        ["activations (MiB)", *(_number(line.activation_bytes, 2**20) for line in lines)],
        ["MACs per byte", *(f"{line.macs / max(line.moved_bytes, 1):.2f}" for line in lines)],
    ]


def _column(name: str, values: list[int]) -> list[str]:
    scale, prefix = _unit(values[-1])
    head = name.format(prefix).replace(" ()", "")
    return [head, *(_number(value, scale) for value in values)]


def _number(value: int, scale: int) -> str:
    return f"{value:,}" if scale == 1 or value == 0 else f"{value / scale:,.3f}"


def _unit(value: int) -> tuple[int, str]:
    units = ((10**9, "G"), (10**6, "M"), (10**3, "K"))
    return next((unit for unit in units if value >= unit[0]), (1, ""))


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "-"


def _summary(cost: Cost) -> list[str]:
    shapes = ", ".join(map(_times, cost.input_shapes))
    scale, prefix = _unit(cost.flops)
    peaks = f"activations {_mib(cost.peak_activation_bytes)} at their peak without gradients"
    if cost.training_peak_bytes is not None:
        peaks += f", {_mib(cost.training_peak_bytes)} for everything in training"
    return [
        f"input {shapes}; {cost.params:,} parameters, {cost.weights:,} of them weights; "
        f"{cost.flops / scale:,.3f} {prefix}FLOPs (2 per MAC)",
        f"model {_mib(cost.model_bytes)}, buffers {_mib(cost.buffer_bytes)}; {peaks}",
    ]


def _mib(size: int) -> str:
    return f"{size / 2**20:,.3f} MiB"
