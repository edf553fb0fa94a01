"""The speed that lean3d aims at, row by row: ours against a peer, with equal outputs.

    python benchmarks/run.py --theme targets [--rounds 9]      # a quarter of an hour and more
    python benchmarks/targets.py acs_inference unet            # some rows alone, as JSON

Needs the peers (acsconv) and the zoo (pytorchvideo, timm_3d, torchvision in .venv/zoo).
"""

import copy
import importlib
import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial

import torch
import zoo
from optimize import TORCH, dense_rate
from torch import Tensor, nn

import lean3d
from lean3d import ops
from lean3d.cost.latency import interleaved, ratios, training_step
from lean3d.ops import with_fast_gradients_
from lean3d.ops.memory_layout import channels_last, channels_last_
from lean3d.ops.views import PlaneConv3d
from lean3d.runtime.search import SETTLE

CLIP, CUBE = (1, 3, 8, 224, 224), (1, 3, 64, 64, 64)
ACS_SIZES = {(2, 64, 48, 48, 48): 0.65, (2, 128, 24, 24, 24): 0.42, (2, 256, 12, 12, 12): 0.42}
SIDE, STREAMS = 112, 16

Calls = dict[str, Callable[[], object]]


def targets(rounds: int) -> list[dict]:
    """Time of the first by that of the second, at most what is asked; outputs compared first."""
    rows: list[dict] = []
    for part in PARTS:
        rows += measured(part, rounds)
    return rows


def measured(part: Callable, rounds: int) -> list[dict]:
    torch.manual_seed(0)
    rows = []
    for row in part(rounds):
        print(" ".join(map(str, row.values())), flush=True)
        rows.append(row)
    return rows


def row(work: str, times: dict[str, list[float]], ours: str, other: str, at_most: float) -> dict:
    ratio = ratios(times, other)[ours]
    ms = {name: 1e3 * sorted(times[name])[len(times[name]) // 2] for name in (ours, other)}
    return {
        "work": work,
        "ours": ours,
        "ms": round(ms[ours], 2),
        "against": other,
        "its ms": round(ms[other], 2),
        "ratio": round(ratio, 2),
        "at most": at_most,
        "met": "yes" if round(ratio, 2) <= at_most else "no",
    }


def equal(one: Tensor, other: Tensor, tolerance: float = 1e-3) -> None:
    """Stop where two outputs differ."""
    error = float((one - other).abs().max() / other.abs().max())
    assert error < tolerance, f"outputs differ by {error:.1e}"


def fastest(model: nn.Module, x: Tensor, **settings) -> partial:
    """The call of the fastest equal network."""
    found = lean3d.optimize(model, x, budget_s=120, **settings)
    return partial(found.runner, x)


def timed(calls: Calls, rounds: int) -> dict[str, list[float]]:
    with torch.no_grad():
        return interleaved(calls, rounds, settle=SETTLE)


def csn_inference(rounds: int):
    x = torch.randn(CLIP)
    dense = lean3d.create_model("resnet3d_50", num_classes=400).eval()
    for mode in ("ir", "ip"):
        model, calls = lean3d.create_model(f"{mode}_csn_50", num_classes=400).eval(), Calls()
        if mode == "ir":
            pools = dict(stem_pool=nn.MaxPool3d, head_pool_kernel_size=(1, 1, 1))
            theirs = zoo.create_csn(model_depth=50, model_num_class=400, **pools).eval()
            with tempfile.TemporaryDirectory() as folder:
                torch.save(theirs.state_dict(), path := f"{folder}/theirs.pth")
                lean3d.load_checkpoint(model, path)
            with torch.no_grad():
                equal(model(x), theirs(x))
            calls["pytorchvideo"] = partial(theirs, x)
        calls["optimize"] = fastest(model, x)
        calls["optimize, torch alone"] = fastest(model, x, backends=TORCH)
        calls["OpenVINO"] = fastest(model, x, backends=["openvino"])
        calls["ResNet3D-50, optimize"] = fastest(dense, x)
        times = timed(calls, rounds)
        name = f"{mode}-CSN-50, inference"
        yield row(name, times, "optimize", "OpenVINO", 1.0)
        yield row(name, times, "optimize, torch alone", "OpenVINO", 1.1)
        if mode == "ir":
            yield row(name, times, "optimize", "pytorchvideo", 0.25)
            yield row(name, times, "optimize, torch alone", "pytorchvideo", 0.25)
        yield row(name, times, "optimize", "ResNet3D-50, optimize", 0.45)
        half: Calls = {
            "optimize": fastest(model, x, precision="bfloat16"),
            "OpenVINO": fastest(model, x, precision="bfloat16", backends=["openvino"]),
        }
        yield row(f"{name}, bfloat16", timed(half, rounds), "optimize", "OpenVINO", 1.0)


def csn_training(rounds: int):
    x = torch.randn(CLIP)
    for mode in ("ir", "ip"):
        model = lean3d.create_model(f"{mode}_csn_50", num_classes=400).train()
        fast = channels_last_(with_fast_gradients_(copy.deepcopy(model)))
        calls: Calls = {
            "channels-last, fast gradients": training_step(fast, channels_last(x)),
            "contiguous": training_step(model, x),
        }
        times = interleaved(calls, max(rounds // 2, 3))
        yield row(f"{mode}-CSN-50, training step", times, *calls, 0.55)


def acs_networks() -> dict[str, nn.Module]:
    """ResNet-18 with ACS, with acsconv's operator on the same weights, and dense."""
    peer = importlib.import_module("acsconv.operators").ACSConv
    flat = zoo.torchvision.models.resnet18(weights=None).eval()
    ours = lean3d.convert(flat, lean3d.ACS()).eval()
    theirs = copy.deepcopy(ours)  # acsconv's own converter fails on batch norms of torch 2.13
    for path, conv in list(theirs.named_modules()):
        if isinstance(conv, PlaneConv3d):
            (kernel,) = set(conv.weight.shape[2:])
            sizes = (kernel, conv.stride[0], conv.padding[-1])
            same = peer(conv.in_channels, conv.out_channels, *sizes, bias=conv.bias is not None)
            same.load_state_dict(conv.state_dict())
            theirs.set_submodule(path, same)
    dense = lean3d.convert(flat, lean3d.Inflate(depth=None, pad="zeros"), accept="unchecked")
    return {"ours": ours, "acsconv": theirs.eval(), "dense": dense.eval()}


def acs_inference(rounds: int):
    x, nets = torch.randn(CUBE), acs_networks()
    timm_3d = importlib.import_module("timm_3d").create_model("resnet18", num_classes=1000).eval()
    with torch.no_grad():
        equal(nets["ours"](x), nets["acsconv"](x))
    calls: Calls = {
        "optimize": fastest(nets["ours"], x),
        "optimize, torch alone": fastest(nets["ours"], x, backends=TORCH),
        "OpenVINO": fastest(nets["ours"], x, backends=["openvino"]),
        "acsconv": partial(nets["acsconv"], x),
        "dense 3D, optimize": fastest(nets["dense"], x),
        "dense 3D of timm_3d": partial(timm_3d, x),
    }
    times = timed(calls, rounds)
    name = "ACS ResNet-18, 64^3, inference"
    yield row(name, times, "optimize", "acsconv", 0.20)
    yield row(name, times, "optimize, torch alone", "acsconv", 0.20)
    yield row(name, times, "optimize", "OpenVINO", 1.0)
    yield row(name, times, "optimize, torch alone", "OpenVINO", 1.15)
    yield row(name, times, "optimize", "dense 3D, optimize", 0.45)
    yield row(
        "dense ResNet-18, 64^3, inference", times, "dense 3D, optimize", "dense 3D of timm_3d", 1.0
    )


def acs_training(rounds: int):
    x, nets = torch.randn(2, *CUBE[1:]), acs_networks()
    calls: Calls = {"ACS": training_step(channels_last_(nets["ours"].train()), channels_last(x))}
    calls["acsconv"] = training_step(nets["acsconv"].train(), x)
    calls["dense 3D"] = training_step(nets["dense"].train(), x)
    times = interleaved(calls, max(rounds // 2, 3))
    for other, at_most in (("acsconv", 0.80), ("dense 3D", 0.30)):
        yield row("ACS ResNet-18, training step of 2", times, "ACS", other, at_most)


def acs_convolution(rounds: int):
    for size, at_most in ACS_SIZES.items():
        x = channels_last(torch.randn(size))
        ours = ops.ACSConv3d(size[1], size[1], 3, padding=1)
        dense = channels_last_(nn.Conv3d(size[1], size[1], 3, padding=1))
        times = timed({"ACSConv3d": partial(ours, x), "nn.Conv3d": partial(dense, x)}, rounds)
        yield row(f"ACSConv3d forward, {size}", times, "ACSConv3d", "nn.Conv3d", at_most)


def unet(rounds: int):
    x = torch.randn(1, 1, 64, 64, 64)
    options = dict(num_classes=4, widths=(16, 32, 64, 128))
    acs, dense = (
        lean3d.create_model("unet3d", conv=conv, **options).eval()
        for conv in (ops.ACSConv3d, nn.Conv3d)
    )
    calls: Calls = {"ACS, optimize": fastest(acs, x), "nn.Conv3d, optimize": fastest(dense, x)}
    yield row("U-Net 3D, 64^3, inference", timed(calls, rounds), *calls, 0.55)


def lean_operators(rounds: int):
    x = torch.randn(2, 64, 16, 28, 28, requires_grad=True)
    dense = nn.Conv3d(64, 64, 3, padding=1)
    for mode in ("ip", "ir"):
        ours = ops.ChannelSeparatedConv3d(64, 64, 3, padding=1, mode=mode)
        calls: Calls = {"ours": training_step(ours, x), "nn.Conv3d": training_step(dense, x)}
        name = f"ChannelSeparatedConv3d {mode}, forward and backward"
        yield row(name, interleaved(calls, rounds), "ours", "nn.Conv3d", 0.45)
    two = nn.Sequential(dense, nn.Conv3d(64, 64, 3, padding=1))
    ours = ops.ParallelSeparableConv3d(64, 64, 3, padding=1, streams=2, depth=2)
    calls = {"ours": training_step(ours, x), "two nn.Conv3d": training_step(two, x)}
    name = "P2SC2 for two 3x3x3, forward and backward"
    yield row(name, interleaved(calls, rounds), *calls, 0.80)


def stdcf(rounds: int):
    x = torch.randn(CLIP)
    ours = lean3d.create_model("stdcf_resnet50", num_classes=400)
    dense = lean3d.create_model("stdcf_resnet50", conv=nn.Conv3d, num_classes=400)
    calls: Calls = {"STDCF-R50": fastest(ours.eval(), x), "3D-R50": fastest(dense.eval(), x)}
    yield row("STDCF-R50, inference after optimize", timed(calls, rounds), *calls, 1.0)
    calls = {"STDCF-R50": training_step(ours.train(), x), "3D-R50": training_step(dense.train(), x)}
    yield row("STDCF-R50, training step", interleaved(calls, max(rounds // 2, 3)), *calls, 1.1)


def stream_steps(rounds: int):
    model = lean3d.create_model("d_resnet_18", num_classes=600).eval()
    live = lean3d.stream(model)
    frame = torch.randn(1, 3, SIDE, SIDE)
    fast = lean3d.optimize(live, frame, budget_s=120)
    many = frame.expand(STREAMS, -1, -1, -1).contiguous()
    fast_many = lean3d.optimize(live, many, budget_s=120)
    window = lean3d.create_model("hara_resnet_18", num_classes=600).eval()
    clip = torch.randn(1, 3, 16, SIDE, SIDE)
    calls: Calls = {
        "optimized step": partial(fast.step, frame, fast.init()),
        "16 streams in one step": partial(fast_many.step, many, fast_many.init(STREAMS)),
        "window of 16, optimize": fastest(window, clip),
    }
    times = timed(calls, max(rounds, 9))
    macs = lean3d.count(model, (1, 3, 1, SIDE, SIDE)).macs
    limit = macs / 1e9 / dense_rate()
    times["its multiply-adds at the dense rate"] = [limit] * len(times["optimized step"])
    name = f"D-ResNet-18 step, {SIDE}^2"
    yield row(name, times, "optimized step", "its multiply-adds at the dense rate", 2.0)
    yield row(name, times, "optimized step", "window of 16, optimize", 0.10)
    times["16 streams, each"] = [time / STREAMS for time in times["16 streams in one step"]]
    yield row(f"{name}, one of 16 streams", times, "16 streams, each", "optimized step", 0.40)


PARTS = (
    csn_inference,
    csn_training,
    acs_inference,
    acs_training,
    acs_convolution,
    unet,
    lean_operators,
    stdcf,
    stream_steps,
)

if __name__ == "__main__":
    parts = {part.__name__: part for part in PARTS}
    for name in sys.argv[1:] or parts:
        print(json.dumps(measured(parts[name], rounds=9)))
