"""Every operator against nn.Conv3d of the same arguments, and ACS against acsconv."""

import importlib
from functools import partial

import torch
from torch import nn

import lean3d
from lean3d import ops
from lean3d.cost.latency import interleaved, ratios, training_step

OPERATORS = {
    "nn.Conv3d": nn.Conv3d,
    "ACSConv3d": ops.ACSConv3d,
    "MeanACSConv3d": ops.MeanACSConv3d,
    "SoftACSConv3d": ops.SoftACSConv3d,
    "PlanarConv3d": ops.PlanarConv3d,
    "ParallelSeparableConv3d": ops.ParallelSeparableConv3d,
    "ParallelSeparableConv3d, streams=3": partial(ops.ParallelSeparableConv3d, streams=3),
    "ChannelSeparatedConv3d, ip": ops.ChannelSeparatedConv3d,
    "ChannelSeparatedConv3d, ir": partial(ops.ChannelSeparatedConv3d, mode="ir"),
    "SpaceTimeConv3d": ops.SpaceTimeConv3d,
    "SpaceTimeConv3d, rank1": partial(ops.SpaceTimeConv3d, form="rank1"),
    "AtomConv3d": ops.AtomConv3d,
    "CausalConv3d": ops.CausalConv3d,
}

ATOM_SHAPES = [(2, 64, 8, 28, 28), (1, 64, 8, 56, 56)]
ACS_SHAPES = [(2, 64, 48, 48, 48), (2, 128, 24, 24, 24), (2, 16, 32, 32, 32), (1, 64, 16, 16, 16)]


def operators(rounds: int) -> list[dict]:
    """Parameters, MACs per voxel and time of each operator, 64 to 64 channels, kernel 3."""
    x = torch.randn(2, 64, 16, 28, 28)
    modules = {name: make(64, 64, 3, padding=1) for name, make in OPERATORS.items()}
    dense = modules["nn.Conv3d"]
    rows = []
    for name, module in modules.items():
        cost = lean3d.count(module, tuple(x.shape))
        # two at a time: a longer round leaves the allocator in a state no user's loop has
        pair = {"own": module, "Conv3d": dense}
        calls = {n: partial(_quietly, m, x) for n, m in pair.items()}
        forward = _ratios(calls, "Conv3d", rounds)
        steps = _ratios(_steps(pair, x), "Conv3d", rounds)
        rows.append(
            {
                "operator": name,
                "params": cost.params,
                "MACs per voxel": cost.macs // (x.numel() // 64),
                "forward / Conv3d": forward["own"],
                "forward + backward / Conv3d": steps["own"],
            }
        )
    return rows


def atoms(rounds: int) -> list[dict]:
    """AtomConv3d's three paths against nn.Conv3d, forward and backward."""
    rows = []
    for batch, channels, *size in ATOM_SHAPES:
        x = torch.randn(batch, channels, *size)
        make = partial(ops.AtomConv3d, channels, channels, 3, padding=1)
        modules = {path: make(path=path) for path in ("reconstruct", "coefficients", "stages")}
        modules["nn.Conv3d"] = nn.Conv3d(channels, channels, 3, padding=1)
        times = _ratios(_steps(modules, x), "nn.Conv3d", rounds)
        times.pop("nn.Conv3d")
        row = {f"{path} / Conv3d": ratio for path, ratio in times.items()}
        rows.append({"input": str(tuple(x.shape)), **row})
    return rows


def acs(rounds: int) -> list[dict]:
    """ACSConv3d against nn.Conv3d and acsconv 0.1.1 on contiguous input; outputs compared."""
    peer = importlib.import_module("acsconv.operators").ACSConv
    rows = []
    for batch, channels, *size in ACS_SHAPES:
        x = torch.randn(batch, channels, *size)
        ours, theirs = (make(channels, channels, 3, padding=1) for make in (ops.ACSConv3d, peer))
        ours.load_state_dict(theirs.state_dict())
        modules = {"ours": ours, "acsconv": theirs}
        modules["Conv3d"] = nn.Conv3d(channels, channels, 3, padding=1)
        with torch.no_grad():
            difference = float((ours(x) - theirs(x)).abs().max())
        row: dict = {"input": str(tuple(x.shape)), "largest difference": f"{difference:.0e}"}
        calls = {n: partial(_quietly, m, x) for n, m in modules.items()}
        for kind, timed in (("forward", calls), ("forward + backward", _steps(modules, x))):
            for other in ("Conv3d", "acsconv"):
                pair = {name: timed[name] for name in ("ours", other)}
                row[f"{kind} / {other}"] = _ratios(pair, other, rounds)["ours"]
        rows.append(row)
    return rows


def _ratios(calls: dict, base: str, rounds: int) -> dict[str, float]:
    return {n: round(ratio, 2) for n, ratio in ratios(interleaved(calls, rounds), base).items()}


def _steps(modules: dict[str, nn.Module], x: torch.Tensor) -> dict:
    wanting = x.clone().requires_grad_()
    return {name: training_step(module, wanting) for name, module in modules.items()}


@torch.no_grad()
def _quietly(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return module(x)
