"""Table 5 of D3D: the light networks, as the counter of its authors sees them.

That counter (the early thop of Efficient-3DCNNs) hooks modules, so it misses what is called as a
function: the ReLUs of MobileNetV1's blocks, and the last mean of all but SqueezeNet and ResNeXt. It
takes a pool whose kernel is written as one number for a pool of that many voxels: 2 per output.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from lean3d.conversion import Dissect, convert
from lean3d.cost import Cost, LayerCost, count
from lean3d.models import create_model
from papers.rows import TWICE, Row

__all__ = ["dissected", "table_5"]

CLIP, FRAME = (1, 3, 16, 112, 112), (1, 3, 1, 112, 112)
Missed = Callable[[LayerCost], int]


def last_mean(layer: LayerCost) -> int:
    return layer.macs if layer.type == "AdaptiveAvgPool3d" else 0


def short_pool(layer: LayerCost) -> int:
    """A pool of 3 voxels instead of 27 has 2 for 26 operations."""
    return layer.macs * 24 // 26 if layer.type == "MaxPool3d" else 0


def block_relu(layer: LayerCost) -> int:
    return layer.macs if layer.path.endswith(".relu") else 0


POOL = "pools of kernel 3 counted as 3 voxels"
LIGHT: list[tuple[str, dict[str, Any], str, tuple[Missed, ...], str]] = [
    ("shufflenet3d_v1", dict(width=2.0), "538", (last_mean, short_pool), POOL),
    ("shufflenet3d_v2", dict(width=2.0), "438", (last_mean, short_pool), POOL),
    ("mobilenet3d_v1", dict(width=2.0), "662", (last_mean, block_relu), "ReLUs of blocks unseen"),
    ("mobilenet3d_v2", {}, "561", (last_mean,), ""),
    ("squeezenet3d", {}, "926", (short_pool,), POOL),
    ("resnext3d_101", {}, "9652", (), ""),
]


def table_5() -> Iterator[Row]:
    """600 classes, 16 frames of 112 x 112; X3D-M on the clips its own paper counts."""
    for name, options, printed, missed, note in LIGHT:
        cost = counted(name, CLIP, "thop", **options)
        ours = cost.macs - sum(part(layer) for layer in cost.layers for part in missed)
        label = " ".join([name, *(f"{key}={value}" for key, value in options.items())])
        full = f"{note}; {cost.macs / 1e6:.0f} with all" if note else ""
        yield Row(f"{label}, Table 5", "operations", printed, ours / 1e6, "MFLOP", full)
    for side, printed, note, aside in (
        (224, "6200", "the table says 224; X3D counts at 256, see below", ""),
        (256, "6.2", "as the X3D paper prints it", TWICE),
    ):
        macs = counted("x3d_m", (1, 3, 16, side, side), "macs").macs
        ours, unit = (macs / 1e6, "MMACs") if side == 224 else (macs / 1e9, "GMACs")
        yield Row(f"x3d_m at {side}, Table 5", "operations", printed, ours, unit, note, aside)


def dissected() -> str:
    """The light networks as `Dissect()` makes them: what one new frame costs, as a table."""
    head = ("name", "a clip of 16 (MMACs)", "one new frame, dissected (MMACs)", "parameters (M)")
    lines = [head, ("---", "---:", "---:", "---:")]
    for name, options, *_ in [*LIGHT, ("x3d_m", {})]:
        clip = counted(name, CLIP, "macs", **options)
        causal = convert(create_model(name, **options).eval(), Dissect())
        step = count(causal, FRAME)
        label = " ".join([name, *(f"{key}={value}" for key, value in options.items())])
        numbers = clip.macs / 1e6, step.macs / 1e6, step.params / 1e6
        lines.append((label, *(f"{number:,.1f}" for number in numbers)))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def counted(name: str, shape: tuple[int, ...], profile: Any, **options: Any) -> Cost:
    """What a registered model costs."""
    with torch.device("meta"):
        model = create_model(name, **options)
    return count(model, shape, profile=profile)
