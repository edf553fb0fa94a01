"""Time and peak memory of a training step with checkpointing, and with freed memory kept.

    python benchmarks/training_step.py [--rounds 5]

Ratios of medians to the plain step, in turns; the allocator is told last, for it cannot be undone.
"""

import argparse
import copy
import statistics
from functools import partial

import targets
import torch

import lean3d
from lean3d.cost.latency import interleaved, peak_mib, training_step
from lean3d.tasks.in_training import recompute_blocks_
from lean3d.train.allocator import keep_freed_memory

WIDTHS = (16, 32, 64, 128)
NETWORKS = {
    "ACS ResNet-18": (lambda: targets.acs_networks()["ours"], (2, 3, 96, 96, 96)),
    "ir-CSN-26": (
        partial(lean3d.create_model, "ir_csn_26", num_classes=10),
        (4, 3, 16, 112, 112),
    ),
    "U-Net 3D": (
        partial(lean3d.create_model, "unet3d", num_classes=4, widths=WIDTHS),
        (1, 1, 64, 64, 64),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    calls = {}
    for name, (make, size) in NETWORKS.items():
        torch.manual_seed(0)
        model, x = make().train(), torch.randn(size)
        other = copy.deepcopy(model)
        recompute_blocks_(other)
        calls[name] = {
            "plain": training_step(model, x),
            "checkpointing": training_step(other, x),
        }
    before = {}
    for name, own in calls.items():
        times = interleaved(own, rounds)
        ms = {kind: 1e3 * statistics.median(found) for kind, found in times.items()}
        peak = {kind: peak_mib(call, torch.device("cpu")) for kind, call in own.items()}
        before[name] = ms["plain"]
        time, memory = (found["checkpointing"] / found["plain"] for found in (ms, peak))
        print(
            f"{name}: plain {ms['plain']:.0f} ms, {peak['plain']:.0f} MiB; checkpointing ", end=""
        )
        print(f"{time:.2f} of its time, {memory:.2f} of its peak", flush=True)
    keep_freed_memory()
    for name, own in calls.items():
        times = interleaved({"plain": own["plain"]}, rounds)["plain"]
        ms = 1e3 * statistics.median(times)
        print(f"{name}: with freed memory kept {ms / before[name]:.2f} of its time", flush=True)


if __name__ == "__main__":
    main()
