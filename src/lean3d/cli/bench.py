"""lean3d bench MODEL --against MODEL2 --input 1,3,8,112,112"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.cli.device import find_device
from lean3d.cli.fits import check_fits
from lean3d.cli.model import NetworkFlags
from lean3d.cli.parse import parse
from lean3d.cli.show import show_json, show_table
from lean3d.cost import Share, bench, count, explain, kinds, layer_shares
from lean3d.errors import LeanError, RunError
from lean3d.files import check_outputs, write_text
from lean3d.limits import check_number
from lean3d.ops.memory_layout import channels_last, channels_last_
from lean3d.report import json_line

__all__ = ["main"]

MOST_ROUNDS = 10_000
TIMINGS = {
    "model": "model",
    "work": "work",
    "ms": "median ms",
    "ratio": "time ratio",
    "samples_per_s": "samples/s",
    "peak_mib": "peak MiB",
    "gmacs": "GMACs",
    "params": "params",
}
SHARES = {
    "ms": "ms",
    "time": "% of time",
    "macs": "% of MACs",
    "macs_per_byte": "MACs per byte",
    "gmacs_per_s": "GMACs/s",
}


@dataclass(frozen=True)
class Bench:
    """Time two models side by side, and say where the time goes.

    Attributes:
        against: The other model, or MODEL again for what it was before --convert; else the flags
            of a network hold for both. A 2D model gets the slices of a volume as one batch.
        input: Sizes with commas, batch and channels first; the input of MODEL's paper by default.
        conv: Operator of MODEL, by name; its own by default.
        against_conv: Operator of the other model.
        against_convert: Conversion of the other model, if it differs; none for none.
        rounds: How often each is timed, alternating, after one warm-up round.
        layers: How many of the slowest layers of each to list.
        channels_last: Keep the channels of a voxel contiguous in memory, in both.
        device: Where to compute, such as cuda; a GPU if there is one by default.
        json: Where to write all layers as JSON; the last line printed has the slowest.
    """

    network: NetworkFlags
    against: str
    input: str | None = None
    conv: str | None = None
    against_conv: str | None = None
    against_convert: str | None = None
    rounds: int = 9
    layers: int = 8
    channels_last: bool = False
    device: str | None = None
    json: Path | None = None


def main(argv: list[str]) -> None:
    asked = parse(Bench, "bench", argv)
    if asked.rounds < 1 or asked.layers < 1:
        raise RunError(f"--rounds and --layers are 1 or more, got {asked.rounds}, {asked.layers}")
    check_number("--rounds", asked.rounds, 1, MOST_ROUNDS)
    check_outputs({"--json": asked.json})
    device, (mine, other) = find_device(asked.device), _compared(asked)
    deep = other if mine.convert is None and other.convert is not None else mine
    sizes = deep.sizes(asked.input)
    pairs = (mine, asked.conv), (other, asked.against_conv)
    models = dict(_build(pairs, sizes, device, asked.channels_last))
    if len(models) < 2:
        raise RunError(f"bench compares two models and got {next(iter(models))} twice")
    for model in models.values():
        check_fits(model, sizes, training=True)
    costs = {name: count(model, sizes) for name, model in models.items()}
    x = torch.randn(sizes, device=device)
    x = channels_last(x) if asked.channels_last else x
    layers = {name: layer_shares(model, x) for name, model in models.items()}
    timings = bench(models, x, rounds=asked.rounds)
    (name, shares), (against, others) = layers.items()
    record: dict[str, Any] = {
        "input": list(sizes),
        "device": str(device),
        "threads": torch.get_num_threads(),
        "rounds": asked.rounds,
        "timings": [
            {**asdict(t), "gmacs": costs[t.model].macs / 1e9, "params": costs[t.model].params}
            for t in timings
        ],
        "kinds": _rows({name: kinds(shares) for name, shares in layers.items()}),
        "layers": _rows(layers),
        "why": explain(name, shares, against, others, timings[0].ratio),
    }
    if asked.json is not None:
        write_text(asked.json, json_line(record) + "\n")
    for what in "kinds", "layers":
        record[what] = [row for row in record[what] if row["place"] <= asked.layers]
    _show(record)


def _compared(asked: Bench) -> tuple[NetworkFlags, NetworkFlags]:
    """Return MODEL and the other one; MODEL twice is the converted and the unconverted one."""
    mine, how = asked.network, asked.against_convert
    other = replace(mine, model=asked.against)
    if how is None and other == mine and asked.conv == asked.against_conv:
        how = "none"
    if how is None:
        return mine, other
    if how != "none":
        return mine, replace(other, convert=how)
    # a number of downsamplings is that of a conversion
    return mine, replace(other, convert=None, keep_depth=0)


def _build(
    pairs: tuple[tuple[NetworkFlags, str | None], ...],
    sizes: tuple[int, ...],
    device: torch.device,
    last: bool,
) -> Iterator[tuple[str, nn.Module]]:
    """Name and model, that of MODEL first; an operator or conversion is part of the name."""
    for each, conv in pairs:
        model = each.build(in_channels=sizes[1], conv=conv).to(device)
        model = channels_last_(model) if last else model
        sliced = len(sizes) == 5 and each.convert is None and _takes_slices(model, sizes)
        if sliced:
            model.register_forward_pre_hook(_slices)
        yield " ".join(filter(None, [each.model, conv, each.convert, "slices" * sliced])), model


def _takes_slices(model: nn.Module, sizes: tuple[int, ...]) -> bool:
    """Whether it is a 2D network: it takes images and no volumes."""
    if not any(isinstance(module, nn.Conv2d) for module in model.modules()):
        return False
    batch, channels, depth, *image = sizes
    try:
        count(model, sizes)
    except LeanError:
        count(model, (batch * depth, channels, *image))
        return True
    return False


def _slices(model: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return (B * D, C, H, W) of volumes."""
    return tuple(x.transpose(1, 2).flatten(0, 1) if x.ndim == 5 else x for x in args)


def _rows(shares: Mapping[str, list[Share]]) -> list[dict[str, Any]]:
    return [
        {
            "model": model,
            "place": place,
            "name": share.name,
            "kind": share.kind,
            "ms": round(share.ms, 3),
            "time": round(100 * share.ms / sum(other.ms for other in of), 2),
            "macs": round(100 * share.macs / max(sum(other.macs for other in of), 1), 2),
            "macs_per_byte": round(share.macs_per_byte, 2),
            "gmacs_per_s": round(share.macs / share.ms / 1e6, 2),
        }
        for model, of in shares.items()
        for place, share in enumerate(of, start=1)
    ]


def _show(record: dict[str, Any]) -> None:
    sizes = "x".join(map(str, record["input"]))
    threads, rounds = record["threads"], record["rounds"]
    show_table(record["timings"], TIMINGS)
    print(f"input {sizes} on {record['device']}, {threads} threads, medians of {rounds} rounds\n")
    show_table(record["kinds"], {"model": "model", "name": "layers of a kind", **SHARES})
    print()
    show_table(record["layers"], {"model": "model", "name": "layer", "kind": "", **SHARES})
    print(f"\nforward pass: {record['why']}")
    show_json(record)
