"""Operators, networks and a stream on one GPU against nn.Conv3d; writes results/gpu_<card>_<month>.

    python benchmarks/gpu.py [--small] [--seconds 140] [--out benchmarks/results]

Equal outputs first, then medians of interleaved rounds by CUDA events. float32 with TF32 off and
on, and bfloat16; torch.backends.cudnn.benchmark is on for all. What there is no time for is left
out, and said.
"""

import argparse
import copy
import datetime
import importlib
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import nn

import lean3d
from lean3d import ops
from lean3d.files import write_text
from lean3d.kernels.choice import choices
from lean3d.ops.dense import DenseConv3d
from lean3d.report.table import format_table, json_line

HERE = Path(__file__).parent
LAST = torch.channels_last_3d
# name -> type of weights and inputs, TF32 in convolutions
PRECISIONS = {
    "float32": (torch.float32, False),
    "tf32": (torch.float32, True),
    "bfloat16": (torch.bfloat16, True),
}
# largest difference to the reference, over its largest value
ALLOWED = {"float32": 1e-4, "tf32": 5e-3, "bfloat16": 5e-2}
ACS = [(2, 64, 48), (2, 128, 24), (2, 256, 12)]
# batch, channels, frames, side, stride: the stages of ir-CSN-50 on 8 x 224^2
DEPTHWISE = [(8, 64, 8, 56, 1), (8, 128, 4, 28, 1), (8, 256, 2, 14, 1), (8, 128, 8, 56, 2)]
SMALL = [(1, 32, 12)], [(1, 32, 4, 14, 1)]
ROUNDS = 9


class Budget:
    """Seconds that are left."""

    def __init__(self, seconds: float):
        self.end = time.monotonic() + seconds
        self.skipped: list[str] = []

    def spent(self, what: str) -> bool:
        if time.monotonic() > self.end:
            self.skipped.append(what)
            return True
        return False


def milliseconds(calls: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Medians over rounds of all in turns; a call that is short is repeated within a round."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    repeats = {}
    for name, call in calls.items():
        for _ in range(3):
            call()
        repeats[name] = max(1, min(20, int(2 / max(timed(call, 2), 1e-3))))
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(timed(call, repeats[name]))
    return {name: statistics.median(own) for name, own in times.items()}


def timed(call: Callable[[], object], repeats: int) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(repeats):
        call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / repeats


def precision(name: str) -> torch.dtype:
    dtype, tf32 = PRECISIONS[name]
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    return dtype


def card() -> dict[str, object]:
    """Name, rate of a matrix product in each precision, and bandwidth of a copy, measured."""
    found: dict[str, object] = {"card": torch.cuda.get_device_name(), "torch": torch.__version__}
    for name in PRECISIONS:
        dtype = precision(name)
        a, b = torch.randn(2, 4096, 4096, device="cuda", dtype=dtype)
        ms = milliseconds({"product": partial(torch.mm, a, b)})["product"]
        found[f"{name} TFLOP/s"] = round(2 * 4096**3 / ms / 1e9, 1)
    x = torch.empty(2**28, device="cuda", dtype=torch.uint8)
    y = torch.empty_like(x)
    ms = milliseconds({"copy": partial(y.copy_, x)})["copy"]
    found["copy GB/s"] = round(2 * x.numel() / ms / 1e6)
    return found


@torch.no_grad()
def forward(module: nn.Module, x: torch.Tensor) -> object:
    return module(x)


def backward(module: nn.Module, x: torch.Tensor) -> object:
    given = x.detach().requires_grad_()
    y = module(given)
    return torch.autograd.grad(y, [given, *module.parameters()], torch.ones_like(y))


def apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.float() - expected.float()).abs().max() / expected.float().abs().max())


def proven(name: str, module: nn.Module, x: torch.Tensor, reference: nn.Module) -> float:
    """Difference of output and gradients to those in float32 without TF32."""
    own = [forward(module, x), *backward(module, x)]  # type: ignore[misc]
    precision("float32")
    wanted = [forward(reference, x.float()), *backward(reference, x.float())]  # type: ignore[misc]
    precision(name)
    worst = max(apart(a, b) for a, b in zip(own, wanted, strict=True))
    # sums over all voxels of bfloat16 gradients, which torch's own kernels round too
    assert worst <= (0.2 if name == "bfloat16" else 20 * ALLOWED[name]), f"{name}: {worst}"
    assert apart(own[0], wanted[0]) <= ALLOWED[name], f"{name}: {apart(own[0], wanted[0])}"
    return worst


def operators(shapes: list, budget: Budget, kind: str) -> Iterator[dict]:
    """Forward, and forward + backward, of our operator and of the convolutions it replaces."""
    for name in PRECISIONS:
        for batch, channels, *rest in shapes:
            if budget.spent(f"{kind} {batch, channels, *rest} {name}"):
                continue
            dtype = precision(name)
            size, make = made(kind, channels, rest)
            torch.manual_seed(0)
            dense = nn.Conv3d(channels, channels, 3, padding=1).cuda()
            reference = plain(kind, channels, rest).cuda()
            x = torch.randn(batch, channels, *size, device="cuda")
            ours = make().cuda()
            ours.load_state_dict(reference.state_dict())
            ours, known = ours.to(dtype), set(choices())
            error = proven(name, ours, x.to(dtype, memory_format=LAST), reference)
            modules = {"ours": ours, "dense": dense.to(dtype)}
            if kind == "depthwise":
                modules["nn.Conv3d depthwise"] = copy.deepcopy(reference).to(dtype)
            made_up = {case: way for case, way in choices().items() if case not in known}
            paths = [way for case, way in made_up.items() if case[0] == kind]  # type: ignore[index]
            row = {"input": str((batch, channels, *size)), "precision": name, "error": error}
            row |= {"stride": rest[2]} if kind == "depthwise" else {}
            row["chosen"] = ", ".join(paths)
            for pass_name, run in (("forward", forward), ("forward + backward", backward)):
                calls = {}
                for what, module in modules.items():
                    last = copy.deepcopy(module).to(memory_format=LAST)
                    calls[f"{what}, last"] = partial(run, last, x.to(dtype, memory_format=LAST))
                    if what != "ours":
                        calls[what] = partial(run, module, x.to(dtype))
                for what, ms in milliseconds(calls).items():
                    row[f"{pass_name}, {what} ms"] = ms
            yield row


def made(kind: str, channels: int, rest: list) -> tuple[tuple[int, ...], Callable[[], nn.Module]]:
    if kind == "acs":
        return (rest[0],) * 3, partial(ops.ACSConv3d, channels, channels, 3, padding=1)
    frames, side, stride = rest
    own = dict(padding=1, stride=stride, groups=channels, bias=False)
    return (frames, side, side), partial(DenseConv3d, channels, channels, 3, **own)


def plain(kind: str, channels: int, rest: list) -> nn.Module:
    """The same by torch's convolutions alone, for reference."""
    if kind == "acs":
        return ops.ACSConv3d(channels, channels, 3, padding=1, path="views")
    own = dict(padding=1, stride=rest[2], groups=channels, bias=False)
    return nn.Conv3d(channels, channels, 3, **own)


def training(name: str, models: dict[str, nn.Module], x: torch.Tensor) -> dict:
    """A training step of SGD with autocast for bfloat16, contiguous and channels-last."""
    dtype = precision(name)
    calls = {}
    for what, model in models.items():
        for layout in (torch.contiguous_format, LAST):
            own = copy.deepcopy(model).cuda().train()
            for parameter in own.parameters():
                if parameter.ndim == 5:
                    parameter.data = parameter.data.contiguous(memory_format=layout)
            given = x.cuda().contiguous(memory_format=layout)
            optimiser = torch.optim.SGD(own.parameters(), 1e-3)
            how = what if layout == torch.contiguous_format else f"{what}, last"
            calls[how] = partial(step, own, given, optimiser, dtype)
    return {f"{what} ms": ms for what, ms in milliseconds(calls, 5).items()}


def step(model: nn.Module, x: torch.Tensor, optimiser: torch.optim.Optimizer, dtype) -> None:
    with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        loss = model(x).float().square().mean()
    loss.backward()
    optimiser.step()
    optimiser.zero_grad()


def inference(name: str, model: nn.Module, x: torch.Tensor, seconds: float) -> dict:
    """Every backend of `optimize`; eager in both layouts is among them."""
    precision(name)
    how = "bfloat16" if name == "bfloat16" else "float32"
    # TF32 is off where the reference is computed, and on where it is timed
    tolerance = {"float32": 1e-3, "tf32": 1e-2, "bfloat16": 5e-2}[name]
    options = dict(precision=how, budget_s=seconds, tolerance=tolerance)
    names = ["eager", "fused", "channels_last", "cuda_graph", "triton", "triton_cuda_graph"]
    names += ["autocast"] if how == "bfloat16" else []
    fitting = [n for n in names if how in lean3d.runtime.BACKENDS.find(n).precisions]
    fast = lean3d.optimize(model.cuda().eval(), x.cuda(), backends=fitting, **options)
    rows = {f"{row['backend']} ms": row["ms"] for row in fast.rows()}
    notes = {row["backend"]: row["note"] for row in fast.rows() if row["note"]}
    return {**rows, "fastest": fast.backend, **({"notes": str(notes)} if notes else {})}


def streaming(name: str, side: int) -> dict:
    """A step of D-ResNet-18 as it is, fused, and as a CUDA graph."""
    precision(name)
    model = lean3d.create_model("d_resnet_18").cuda().eval()
    live = lean3d.stream(model, frame=(3, side, side))
    frame = torch.rand(1, 3, side, side, device="cuda")
    tolerance = 1e-3 if name == "float32" else 1e-2
    fast = lean3d.optimize(live, frame, tolerance=tolerance, budget_s=10)
    return {f"{row['backend']} ms": row["ms"] for row in fast.rows()} | {"fastest": fast.backend}


def networks(small: bool, budget: Budget) -> Iterator[dict]:
    """One piece of work after the other, the most used precision first."""
    volume = torch.randn(2, 3, *[16 if small else 64] * 3)
    clip = torch.randn(*((1, 3, 4, 64, 64) if small else (2, 3, 8, 224, 224)))
    torch.manual_seed(0)
    acs = lean3d.convert(flat_resnet(), lean3d.ACS(), accept="unchecked")
    how = lean3d.Inflate(depth=None, pad="zeros")
    dense = lean3d.convert(flat_resnet(), how, accept="unchecked")
    csn = lean3d.create_model("ir_csn_50")
    # the same convolutions with the kernels of lean3d.ops
    ours = lean3d.create_model("ir_csn_50", conv=DenseConv3d)
    ours.load_state_dict(csn.state_dict())
    work: dict[str, Callable[[str], dict]] = {
        "D-ResNet-18 step": lambda name: streaming(name, 112),
        "ACS ResNet-18 inference": lambda name: inference(name, copy.deepcopy(acs), volume[:1], 20),
        "dense ResNet-18 inference": lambda n: inference(n, copy.deepcopy(dense), volume[:1], 20),
        "ACS ResNet-18 training": lambda n: training(n, {"ours": acs, "dense": dense}, volume),
        "ir-CSN-50 training": lambda n: training(n, {"ours": ours, "nn.Conv3d": csn}, clip),
        "ir-CSN-50 inference": lambda n: inference(n, copy.deepcopy(csn), clip[:1], 20),
    }
    for name in ["float32"] if small else ["tf32", "bfloat16", "float32"]:
        for what, run in work.items():
            one_frame = what == "D-ResNet-18 step"
            if (one_frame and name == "bfloat16") or budget.spent(f"{what} {name}"):
                continue
            start = time.monotonic()
            row = run(name)
            yield dict(work=what, precision=name, **row, seconds=round(time.monotonic() - start, 1))


def flat_resnet() -> nn.Module:
    # benchmarks/zoo.py is for machines without CUDA
    return importlib.import_module("torchvision").models.resnet18(weights=None)


def table(rows: list[dict]) -> str:
    heads = list(dict.fromkeys(key for row in rows for key in row))
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    return "\n".join(
        [*lines, *(f"| {' | '.join(shown(row.get(head, '')) for head in heads)} |" for row in rows)]
    )


def shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=HERE)
    return found.stdout.strip() or "unknown"


def write(out: Path, about: dict, parts: dict[str, list[dict]], budget: Budget) -> None:
    slug = re.sub(r"[^a-z0-9]+", "-", str(about["card"]).lower()).strip("-")
    path = out / f"gpu_{slug}_{datetime.date.today():%Y-%m}"
    out.mkdir(parents=True, exist_ok=True)
    kept = {str(case): name for case, name in choices().items()}
    record = {"about": about, **parts, "skipped": budget.skipped, "choices": kept}
    write_text(path.with_suffix(".json"), json_line(record) + "\n")
    text = "\n\n".join(f"## {name}\n\n{table(rows)}" for name, rows in parts.items() if rows)
    facts = "; ".join(f"{key} {value}" for key, value in about.items())
    skipped = f"\n\nNo time for: {', '.join(budget.skipped)}." if budget.skipped else ""
    head = "# gpu\n\nMedians in milliseconds, rounds interleaved, cudnn.benchmark on; `last` is"
    head += f" channels_last_3d.\n{facts}.\n`python benchmarks/gpu.py`"
    write_text(path.with_suffix(".md"), f"{head}\n\n{text}{skipped}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="small sizes: does all of it run?")
    parser.add_argument("--seconds", type=float, default=140)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    given = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    budget, about = Budget(given.seconds), card()
    about |= {"date": str(datetime.date.today()), "commit": commit()}
    print(json_line(about), flush=True)
    parts: dict[str, list[dict]] = {}
    work = {
        "ACSConv3d": operators(SMALL[0] if given.small else ACS, budget, "acs"),
        "depthwise": operators(SMALL[1] if given.small else DEPTHWISE, budget, "depthwise"),
        "networks": networks(given.small, budget),
    }
    for part, rows in work.items():
        parts[part] = []
        for row in rows:
            parts[part].append(row)
            print(json_line({"part": part, **row}), flush=True)
            write(given.out, about, parts, budget)
        if parts[part]:
            print(format_table([{k: shown(v) for k, v in row.items()} for row in parts[part]]))
    write(given.out, about, parts, budget)


if __name__ == "__main__":
    main()
