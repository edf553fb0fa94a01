"""`lean3d.optimize` against the networks as they are, the dense 3D network, and the peers."""

from functools import partial

import torch
import zoo
from torch import nn

import lean3d
from lean3d import ops
from lean3d.cost.latency import interleaved, peak_mib, ratios
from lean3d.ops.dense import DenseConv3d
from lean3d.runtime.search import SETTLE

TORCH = ["fused", "channels_last", "onednn"]
OTHER = ["inductor", "onnxruntime", "openvino"]
SIZE = (2, 64, 16, 28, 28)


def _acs(conv=None):
    flat = zoo.torchvision.models.resnet18(weights=None).eval()
    how = lean3d.ACS() if conv is None else lean3d.Inflate(depth=None, pad="zeros")
    return lean3d.convert(flat, how, accept="unchecked").eval()


def _unet(conv):
    widths = (16, 32, 64, 128)
    return lean3d.create_model("unet3d", conv=conv, num_classes=4, widths=widths).eval()


# what makes a network, and its input
NETWORKS = {
    "ir_csn_50": (partial(lean3d.create_model, "ir_csn_50"), (1, 3, 8, 224, 224)),
    "ip_csn_50": (partial(lean3d.create_model, "ip_csn_50"), (1, 3, 8, 224, 224)),
    "resnet3d_50": (partial(lean3d.create_model, "resnet3d_50"), (1, 3, 8, 224, 224)),
    "ResNet-18, ACS": (_acs, (1, 3, 64, 64, 64)),
    "ResNet-18, dense 3D": (partial(_acs, DenseConv3d), (1, 3, 64, 64, 64)),
    "unet3d, ACS": (partial(_unet, ops.ACSConv3d), (1, 1, 64, 64, 64)),
    "unet3d, nn.Conv3d": (partial(_unet, nn.Conv3d), (1, 1, 64, 64, 64)),
    "x3d_m": (partial(lean3d.create_model, "x3d_m"), (1, 3, 16, 224, 224)),
}


def dense_rate() -> float:
    """Multiply-adds a second, in billions, of a dense 3x3x3 convolution of 64 channels."""
    conv = nn.Conv3d(64, 64, 3, padding=1).eval()
    fast = lean3d.optimize(conv, torch.randn(SIZE), backends=["onednn"])
    call = partial(fast, torch.randn(SIZE))
    # the first calls are slow: 45 where later ones reach 63 to 74
    times = interleaved({"dense": call}, 9, settle=SETTLE)["dense"]
    return lean3d.count(conv, SIZE).macs / sorted(times)[4] / 1e9


def optimize(rounds: int) -> list[dict]:
    """Inference as it is, by optimize with torch alone, by inductor with frozen weights, and by the
    runtimes, in turns in one process, outputs compared first; limit: its multiply-adds at the rate
    of a dense convolution measured in the same run; peak: memory of a call beyond what is held."""
    rate = dense_rate()
    rows = []
    for name, (make, size) in NETWORKS.items():
        torch.manual_seed(0)
        model, x = make().eval(), torch.randn(size)
        ours = lean3d.optimize(model, x, backends=TORCH, budget_s=120)
        calls = {"eager": partial(model, x), "torch": partial(ours.runner, x)}
        for other in OTHER:
            there = lean3d.optimize(model, x, backends=[other], budget_s=300)
            if there.backend == other:
                calls[other] = partial(there.runner, x)
        with torch.no_grad():
            times = interleaved(calls, rounds, settle=SETTLE)
            peaks = {key: peak_mib(call, x.device) for key, call in calls.items()}
        macs = lean3d.count(model, size).macs
        row: dict = {"network": name, "input": "x".join(map(str, size)), "GMACs": macs / 1e9}
        row["limit ms"] = 1e3 * macs / rate / 1e9
        ms = {key: 1e3 * sorted(own)[len(own) // 2] for key, own in times.items()}
        row |= {f"{key} ms": ms.get(key, "") for key in ("eager", "torch", *OTHER)}
        row["torch / eager"] = ratios(times, "eager")["torch"]
        row["torch / openvino"] = ratios(times, "openvino")["torch"] if "openvino" in times else ""
        row |= {f"peak MiB, {key}": peaks[key] for key in ("eager", "torch")}
        row["backend"] = ours.backend
        rows.append({key: round(v, 3) if isinstance(v, float) else v for key, v in row.items()})
        print(" ".join(map(str, rows[-1].values())), flush=True)
    return rows
