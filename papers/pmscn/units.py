"""Claim 12 at a CPU's size, and what PmSCn units need to train: `python -m papers.pmscn.units`.

Paper: Gonda et al., Parallel Separable 3D Convolution (PmSCn), arXiv:1809.04096, Sec 3 and Fig 5
The paper gives each application a rate of its own, and says neither how the weights start nor
whether there is a norm within a unit. Here the networks of `papers.pmscn.brain` at half their width
learn the same brain at 2 mm, at two rates; one to two minutes of a CPU core a network, all thirty
three quarters of an hour. `--networks` also takes other starts, norms, biases and rates, such as
"P2SC3, norm", "P2SC3, variance kept" and "3D, rate 0.0003", which change one thing each.
"""

from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

from torch import nn

from lean3d.data.brain import TISSUES
from lean3d.models import create_model
from lean3d.ops import ParallelSeparableConv3d
from papers.command import Work, carry_out, flags
from papers.learn import folder_of
from papers.pmscn import brain
from papers.pmscn.units_text import draw, section
from papers.trained import seeded

__all__ = ["NAMES", "TINY", "TRIALS", "Scale", "Trial", "build", "main", "work"]

HERE = Path(__file__).parent
SHAPES = {"P2SC2": (2, 2), "P2SC3": (2, 3)}


@dataclass(frozen=True)
class Trial:
    """A network, and what is changed in it.

    Args:
        start: As the operator has it; None draws every convolution by He et al.'s rule for the fan
            out, as the network does.
        fewer: Filters that give about the paper's share of parameters.
        norm: Batch norm after every 2D convolution.
        bias: 2D convolutions have one.
        lr: The rate; None for that of the scale.
        warmup: Share of the steps over which the rate rises.
    """

    unit: str = ""
    start: Literal["layers", "outputs"] | None = None
    fewer: bool = False
    norm: bool = False
    bias: bool = False
    lr: float | None = None
    warmup: float = 0.0


CHANGES: dict[str, dict[str, Any]] = {
    "": {},
    "rate 0.003": dict(lr=3e-3),
    "rate 0.0003": dict(lr=3e-4),
    "warm-up": dict(warmup=0.25),
    "fewer": dict(fewer=True),
    "fewer, rate 0.003": dict(fewer=True, lr=3e-3),
    "as nn.Conv3d": dict(start="layers"),
    "variance kept": dict(start="outputs"),
    "as nn.Conv3d, rate 0.003": dict(start="layers", lr=3e-3),
    "variance kept, rate 0.003": dict(start="outputs", lr=3e-3),
    "norm": dict(norm=True),
    "norm, rate 0.003": dict(norm=True, lr=3e-3),
    "bias": dict(bias=True),
}
# what changes no unit
PLAIN = ("", "rate 0.003", "rate 0.0003", "warm-up")
CLAIMED = ("", "rate 0.003", "fewer", "fewer, rate 0.003")
TRIALS = {
    ", ".join(filter(None, (unit or "3D", change))): Trial(unit, **how)
    for unit in ("", *SHAPES)
    for change, how in CHANGES.items()
    if unit or change in PLAIN
}
NAMES = tuple(name for name in TRIALS if name.partition(", ")[2] in CLAIMED)


@dataclass(frozen=True)
class Scale(brain.Scale):
    """What a CPU trains until the curves are flat: voxels of 2 mm, three dense blocks."""

    spacing_mm: int = 2
    width: int = 6
    growth: int = 7
    fewer: tuple[int, int] = (4, 2)
    patch: int = 20
    crops: int = 80
    epochs: int = 20
    batch: int = 2
    window: int = 48
    depths: tuple[int, ...] = (4, 4, 4)


TINY = Scale(spacing_mm=4, growth=2, patch=16, crops=4, epochs=2, window=16)


def work(scale: Scale) -> Work:
    """What the command measures."""
    read = cache(partial(brain.tissues, scale.data, scale.spacing_mm))
    more = tuple(name for name in TRIALS if name not in NAMES)
    one = partial(_one, scale, read)
    return Work("units", asdict(scale), NAMES, one, section, draw, more=more)


def build(trial: Trial, scale: Scale, seed: int) -> nn.Module:
    """A network with weights that the seed fixes."""
    sizes: dict[str, Any] = dict(
        width=scale.width, growth=scale.growth, depths=scale.depths, num_classes=len(TISSUES)
    )
    if trial.unit:
        streams, depth = SHAPES[trial.unit]
        filters = scale.fewer[depth - 2] if trial.fewer else None
        options = dict(streams=streams, depth=depth, filters=filters, norm=trial.norm)
        sizes["conv"] = partial(ParallelSeparableConv3d, **options)
    with seeded(seed):
        model = create_model("densenet3d", **sizes)
        for module in model.modules():
            if isinstance(module, ParallelSeparableConv3d):
                _start(module, trial)
    return model


def _start(unit: ParallelSeparableConv3d, trial: Trial) -> None:
    parts = [module for module in unit.modules() if isinstance(module, nn.Conv3d)]
    if trial.start is not None:
        unit.start = trial.start
        unit.reset_parameters()
    if trial.bias:
        for part in parts:
            part.bias = nn.Parameter(part.weight.new_zeros(part.out_channels))


def _one(scale: Scale, read: Any, name: str, seed: int, runs: Path, device: str) -> dict[str, Any]:
    trial = TRIALS[name]
    model = build(trial, scale, seed)
    steps = scale.epochs * -(-scale.crops // scale.batch)
    changed = scale if trial.lr is None else replace(scale, lr=trial.lr)
    folder, warmup = folder_of(runs, name, seed, scale), round(trial.warmup * steps)
    return brain.learnt(model, changed, read(), seed, folder, device, warmup)


def main(argv: list[str] | None = None) -> None:
    parser = flags("papers.pmscn.units", str(__doc__))
    asked = parser.parse_args(argv)
    carry_out(work(TINY if asked.tiny else Scale()), asked, parser, HERE)


if __name__ == "__main__":
    main()
