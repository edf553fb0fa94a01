"""One frame at a time against what one would do instead, side by side in one run.

    python benchmarks/run.py --theme streaming

Needs the peers: pip install --no-deps continual-inference, and torchvision in .venv/zoo.
"""

import importlib
from collections.abc import Callable

import torch
from torch import Tensor, nn

import lean3d
from lean3d.cost.latency import interleaved, ratios
from lean3d.ops import CausalConv3d

SIDE = 112
BATCHES = (1, 2, 4, 8, 16, 32)


def streaming(rounds: int) -> list[dict]:
    """A step of a stream, one stream at a time, against recomputing; and more streams at once.

    `times faster` is the median over rounds of the other's time by ours in the same round; for
    several streams the other's is the time of as many steps of one stream.
    """
    pairs = [dissected, five_convolutions, waiting]
    return [row for make in pairs for row in make(rounds)] + together(rounds)


def dissected(rounds: int) -> list[dict]:
    live = lean3d.stream(lean3d.create_model("d_resnet_18").eval())
    window = lean3d.create_model("hara_resnet_18", num_classes=600).eval()
    step, size = stepper(live, 1, (3, SIDE, SIDE)), live.state_bytes(height=SIDE, width=SIDE)
    clip = torch.randn(1, 3, 16, SIDE, SIDE)
    calls = {"ours": step, "other": quietly(window, clip)}
    others = "3D-ResNet-18 on its last 16 frames"
    return [compared("D-ResNet-18 step", others, calls, rounds, size.total, clip.nbytes)]


def five_convolutions(rounds: int) -> list[dict]:
    """Five 3x3x3 convolutions, 64 channels, 56 x 56, with the weights of continual-inference's."""
    peer = importlib.import_module("continual")
    theirs = peer.Sequential(*[peer.Conv3d(64, 64, 3, padding=1) for _ in range(5)]).eval()
    convs = [CausalConv3d(64, 64, 3, padding=1) for _ in range(5)]
    for ours, other in zip(convs, theirs, strict=True):
        ours.load_state_dict(other.state_dict())
    live = lean3d.stream(nn.Sequential(*convs).eval())
    frame = torch.randn(1, 64, 56, 56)
    step, size = stepper(live, 1, frame.shape[1:]), live.state_bytes(height=56, width=56)

    @torch.no_grad()
    def their_step() -> object:
        return theirs.forward_step(frame)

    for _ in range(12):  # past its delay
        their_step()
    kept = sum(x.nbytes for conv in theirs for x in conv.get_state() if isinstance(x, Tensor))
    plain = nn.Sequential(*[nn.Conv3d(64, 64, 3, padding=1) for _ in range(5)]).eval()
    clip = torch.randn(1, 64, 16, 56, 56)
    name = "five 3x3x3, 64 channels, 56 x 56"
    calls = {"ours": step, "other": their_step}
    rows = [compared(name, "continual-inference 1.2.4", calls, rounds, size.total, kept)]
    calls = {"ours": step, "other": quietly(plain, clip)}
    rows.append(compared(name, "the last 16 frames", calls, rounds, size.total, clip.nbytes))
    return rows


def waiting(rounds: int) -> list[dict]:
    models = importlib.import_module("zoo").torchvision.models.video
    model = models.r3d_18(weights=None).eval()
    live = lean3d.stream(model, wait=True)
    step, size = stepper(live, 1, (3, SIDE, SIDE)), live.state_bytes(height=SIDE, width=SIDE)
    clip = torch.randn(1, 3, 16, SIDE, SIDE)
    calls = {"ours": step, "other": quietly(model, clip)}
    rows = []
    for stride in (1, live.chunk):
        # a step brings `chunk` frames, a clip is recomputed every `stride` of them
        name = "conventional r3d_18 waiting, per frame"
        others = f"r3d_18 on its last 16 frames, every {stride} frames"
        share = {"ours": 1 / live.chunk, "other": 1 / stride}
        rows.append(compared(name, others, calls, rounds, size.total, clip.nbytes, share))
    return rows


def together(rounds: int) -> list[dict]:
    live = lean3d.stream(lean3d.create_model("d_resnet_18").eval())
    calls = {str(batch): stepper(live, batch, (3, SIDE, SIDE)) for batch in BATCHES}
    found = ratios(interleaved(calls, rounds), "1")
    one = live.state_bytes(height=SIDE, width=SIDE).total
    return [
        {
            "ours": f"D-ResNet-18 step of {batch} streams",
            "against": "one stream at a time",
            "ours ms": "",
            "other ms": "",
            "times faster": round(batch / found[str(batch)], 2),
            "state bytes": batch * one,
            "of the other's": batch,
        }
        for batch in BATCHES[1:]
    ]


def compared(
    ours: str,
    other: str,
    calls: dict[str, Callable[[], object]],
    rounds: int,
    kept: int,
    theirs: int,
    share: dict[str, float] | None = None,
) -> dict:
    """One row; `share` is the part of a call's time that one frame takes."""
    share = share or {"ours": 1, "other": 1}
    times = {
        name: [share[name] * s for s in own] for name, own in interleaved(calls, rounds).items()
    }
    faster = sorted(b / a for a, b in zip(times["ours"], times["other"], strict=True))
    return {
        "ours": ours,
        "against": other,
        "ours ms": round(1e3 * sorted(times["ours"])[rounds // 2], 1),
        "other ms": round(1e3 * sorted(times["other"])[rounds // 2], 1),
        "times faster": round(faster[rounds // 2], 1),
        "state bytes": kept,
        "of the other's": round(kept / theirs, 3),
    }


def stepper(live: lean3d.Stream, batch: int, frame: tuple[int, ...]) -> Callable[[], object]:
    """A call that steps on, well after the first frame."""
    channels, height, width = frame
    x_BCTHW = torch.randn(batch, channels, live.chunk, height, width)
    state = [live.init(batch, height=height, width=width)]

    def step() -> object:
        answer, state[0] = live.step(x_BCTHW, state[0])
        return answer

    for _ in range(live.delay // live.chunk + 2):
        step()
    return step


def quietly(module: nn.Module, x: Tensor) -> Callable[[], object]:
    @torch.no_grad()
    def call() -> object:
        return module(x)

    return call
