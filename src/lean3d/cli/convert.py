"""lean3d convert MODEL --how HOW"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from lean3d.cli.fits import check_fits
from lean3d.cli.model import ModelFlags
from lean3d.cli.parse import parse
from lean3d.cli.show import show_json, show_table, width
from lean3d.cli.sources import weights_files
from lean3d.cli.weights import save_weights
from lean3d.conversion import convert
from lean3d.conversion.methods import table
from lean3d.files import check_outputs
from lean3d.limits import check_number
from lean3d.networks.operators import conversion

__all__ = ["main"]

# limits so that one layer alone does not fill memory; the whole model is measured later
MOST = {"in_channels": 1_000_000, "volume_channels": 10_000, "volume_classes": 10_000}


@dataclass(frozen=True)
class Convert:
    """Turn a 2D model into 3D, a 3D one into a lean or causal one; print each change.

    Attributes:
        how: The name of a method, listed below.
        in_channels: The model's own default if not given.
        volume_channels: From 2D: of the volume, if not those of the image; filters are summed.
        volume_classes: From 2D: outputs, if others; the last layer is re-initialised.
        budget: To a lean form: multiply-adds on --input, or up to 1 a share of the model's own.
        input: Sizes with commas, batch and channels first; the input of its paper by default.
        keep_depth: From 2D: how many of the first downsamplings leave depth alone; "all" of them.
        accept: From 2D: the lowest grade of the self-check that is accepted: isotropic, planar
            (depth is not treated as height) or unchecked; that of the method by default.
        weights: pretrained, a name of the zoo's weights, or a file: of the model, or its backbone.
        weights_part: encoder loads that alone, all the whole model; by default what the file has.
        format: Of the file of weights, if its keys are ambiguous; lean3d for your own.
        out: Where to write the state_dict of the result.
    """

    network: ModelFlags
    how: str
    in_channels: int | None = None
    volume_channels: int | None = None
    volume_classes: int | None = None
    budget: float | None = None
    input: str | None = None
    keep_depth: int | Literal["all"] = 0
    accept: Literal["isotropic", "planar", "unchecked"] | None = None
    weights: str | None = None
    weights_part: Literal["encoder", "all"] | None = None
    format: str | None = None
    out: Path | None = None


def main(argv: list[str]) -> None:
    if {"-h", "--help"} & set(argv):
        with suppress(SystemExit):
            parse(Convert, "convert", argv)
        show_table(table(), ("--how", "a kernel becomes"))
        return
    asked = parse(Convert, "convert", argv)
    how = conversion(asked.how, asked.keep_depth)
    if asked.budget is not None:
        check_number("--budget", asked.budget, above=True)
    for flag, most in MOST.items():
        if (value := getattr(asked, flag)) is not None:
            check_number(f"--{flag.replace('_', '-')}", value, 1, most)
    check_outputs({"--out": asked.out}, {"--weights file": weights_files(asked.weights)})
    names = "in_channels", "weights", "weights_part", "format"
    built = asked.network.network(**{name: getattr(asked, name) for name in names})
    flat = built.model
    if built.note:
        print(built.note, *(f"not loaded: {name}" for name in built.fresh or ()), sep="\n")
        print()
    example = None
    if asked.budget is not None or asked.input is not None:
        sizes = asked.network.sizes(asked.input)
        check_fits(flat, sizes)
        example = torch.randn(sizes)
    ends: Any = dict(in_channels=asked.volume_channels, num_classes=asked.volume_classes)
    deep = convert(flat, how, example=example, budget=asked.budget, accept=asked.accept, **ends)
    if asked.out is not None:
        save_weights(deep, asked.out)
    record: Any = deep.conversion
    print(record.table(width()))
    rows = [
        dict(path=row.path, before=row.before, after=row.after, exact=row.exact)
        for row in record.rows
    ]
    written = None if asked.out is None else str(asked.out)
    show_json(
        {
            "model": asked.network.model,
            "how": asked.how,
            "grade": record.grade,
            "parameters": sum(p.numel() for p in deep.parameters()),
            "weights_loaded": bool(built.note),
            "out": written,
            "ends": record.ends,
            "changed": rows,
        }
    )
