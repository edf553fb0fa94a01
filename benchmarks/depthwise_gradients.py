"""A training step with the gradients of depthwise convolutions as convolutions, against torch's.

python benchmarks/depthwise_gradients.py ir_csn_26 --input 1,3,8,112,112 --rounds 4

Steps alternate on one thread and are timed in processor time, so that other work of the machine
counts little.
"""

import argparse
import copy
import statistics
import time

import torch
from torch import Tensor, nn

import lean3d
from lean3d.ops import with_fast_gradients_
from lean3d.ops.memory_layout import channels_last, channels_last_


def step(model: nn.Module, x: Tensor) -> float:
    """Run forward and backward; return the seconds of processor time."""
    model.zero_grad(set_to_none=True)
    start = time.process_time()
    model(x).square().sum().backward()
    return time.process_time() - start


def apart(one: nn.Module, other: nn.Module) -> float:
    """Return the norm of the difference of all gradients over their norm."""
    pairs = [(p.grad, q.grad) for p, q in zip(one.parameters(), other.parameters(), strict=True)]
    missed = sum(float((p - q).square().sum()) for p, q in pairs)
    return (missed / sum(float(p.square().sum()) for p, _ in pairs)) ** 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--input", default="1,3,8,112,112")
    parser.add_argument("--rounds", type=int, default=4)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    theirs = lean3d.create_model(asked.model, num_classes=10).train()
    ours = with_fast_gradients_(copy.deepcopy(theirs))
    x = torch.randn(*map(int, asked.input.split(",")))
    for layout in ("contiguous", "channels_last"):
        if layout == "channels_last":
            x, theirs, ours = channels_last(x), channels_last_(theirs), channels_last_(ours)
        step(theirs, x), step(ours, x)
        error = apart(theirs, ours)
        times = [(step(theirs, x), step(ours, x)) for _ in range(asked.rounds)]
        before, after = (1e3 * statistics.median(own) for own in zip(*times, strict=True))
        ratio = statistics.median(own / other for other, own in times)
        print(f"{layout}: torch {before:.0f} ms, ours {after:.0f} ms, ratio {ratio:.3f}", end="")
        print(f", gradients {error:.1e} apart", flush=True)


if __name__ == "__main__":
    main()
