"""lean3d bench MODEL --against MODEL2 --input 1,3,8,112,112"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lean3d.cli.device import find_device
from lean3d.cli.fits import check_fits
from lean3d.cli.model import NetworkFlags
from lean3d.cli.parse import parse
from lean3d.cli.show import show_json, show_table
from lean3d.cost import Share, bench, count, explain, kinds, layer_shares
from lean3d.errors import RunError
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
    """Time two models side by side, forward and training step, and say where the time goes.

    Attributes:
        against: The other model; the flags of a network hold for both.
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
    device, sizes = find_device(asked.device), asked.network.sizes(asked.input)
    models = dict(_build(asked, sizes, device))
    if len(models) < 2:
        raise RunError(f"bench compares two models and got {next(iter(models))} twice")
    for model in models.values():
        check_fits(model, sizes, training=True)
    costs = {name: count(model, sizes) for name, model in models.items()}
    x = torch.randn(sizes, device=device)
    x = channels_last(x) if asked.channels_last else x
    layers = {name: layer_shares(model, x) for name, model in models.items()}
    timings = bench(models, x, rounds=asked.rounds)
    (name, mine), (other, theirs) = layers.items()
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
        "why": explain(name, mine, other, theirs, timings[0].ratio),
    }
    if asked.json is not None:
        write_text(asked.json, json_line(record) + "\n")
    for what in "kinds", "layers":
        record[what] = [row for row in record[what] if row["place"] <= asked.layers]
    _show(record)


def _build(
    asked: Bench, sizes: tuple[int, ...], device: torch.device
) -> Iterator[tuple[str, nn.Module]]:
    """Name and model, that of MODEL first; an operator or conversion is part of the name."""
    network, how = asked.network, asked.against_convert
    other = replace(network, model=asked.against)
    if how is not None:
        other = replace(other, convert=None if how == "none" else how)
    for each, conv in (network, asked.conv), (other, asked.against_conv):
        model = each.build(in_channels=sizes[1], conv=conv).to(device)
        model = channels_last_(model) if asked.channels_last else model
        yield " ".join(filter(None, [each.model, conv, each.convert])), model


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
