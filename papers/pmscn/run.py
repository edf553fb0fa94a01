"""Every size of PmSCn beside what its text gives, read literally: `python -m papers.pmscn`.

Paper: Gonda et al., Parallel Separable 3D Convolution, arXiv:1809.04096, Figures 4 to 6
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from lean3d.models import create_model
from papers.rows import FITTED, Row, report

__all__ = ["main", "rows"]

UNET: dict[str, Any] = dict(widths=(64, 128, 256, 512), skip="full", narrow=True, num_classes=3)
PLAIN: list[tuple[str, str, dict[str, Any], str, str]] = [
    ("ResNet, 3D, Fig 4", "resnet3d_34", dict(num_classes=101), "64", ""),
    ("DenseNet, 3D, Fig 5", "densenet3d", {}, "5.2", "growth 28 and stem 24"),
    ("UNet, 3D, Fig 6", "unet3d", UNET, "21", "widths 64 to 512"),
]
# the paper gives no sizes for these
SIZED = ("psc_densenet", "psc_unet")
SETTINGS = ((1, 1), (2, 2), (2, 3))
LEAN = [
    ("ResNet", "psc_resnet34", "Fig 4", ("39", "49", "33")),
    ("DenseNet", "psc_densenet", "Fig 5", ("4.7", "2.5", "1.4")),
    ("UNet", "psc_unet", "Fig 6", ("11", "12", "10")),
]
SAME = "Eqn 5 makes (1,1) as large as 3D, for any network"
PER = {
    "psc_resnet34": "one unit for {n} consecutive convolutions",
    "psc_densenet": "one unit for one convolution",
    "psc_unet": "one unit for the two convolutions of a level",
}


def rows() -> Iterator[Row]:
    """In the order of the figures."""
    deepest = 4 * millions("p3d_199", num_classes=101)
    note = "megabytes of float32: the figure's M, like the P3D paper's, can only be bytes"
    yield Row("P3D, Fig 4", "size", "261", deepest, "MB", note)
    for (title, name, options, printed, why), lean in zip(PLAIN, LEAN, strict=True):
        aside = FITTED if lean[1] in SIZED else ""
        yield Row(title, "parameters", printed, millions(name, **options), "M", why, aside)
        yield from variants(*lean)


def variants(title: str, name: str, figure: str, printed: tuple[str, ...]) -> Iterator[Row]:
    """The three settings of one network."""
    for (streams, depth), number in zip(SETTINGS, printed, strict=True):
        ours = millions(name, streams=streams, depth=depth)
        note = SAME if (streams, depth) == (1, 1) else PER[name].format(n=depth)
        where = f"{title}, ({streams},{depth}), {figure}"
        # a variant is not sized to give its number: only the network it replaces was
        yield Row(where, "parameters", number, ours, "M", note)


def millions(name: str, **options: Any) -> float:
    """Parameters of a registered model."""
    with torch.device("meta"):
        model = create_model(name, **options)
    return sum(p.numel() for p in model.parameters()) / 1e6


def main() -> None:
    report(rows(), Path(__file__).parent)
