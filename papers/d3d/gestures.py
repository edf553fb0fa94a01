"""Claims 10 and 11, D3D on gestures: `python -m papers.d3d.gestures [--seeds 0 1 2]`.

Paper: Köpüklü et al., Dissected 3D CNNs, arXiv:2009.14639, Tables 2 to 4, Figs 6 and 7
23 gestures of moving digits stand for Kinetics and Jester. A network and seed takes one to two
minutes of an H200 (--device cuda), or a quarter of an hour of a CPU core. Networks that are wide,
slow or of one frame are trained only when --networks has them.
"""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from lean3d.data import MOTIONS
from lean3d.data.feature_clips import Variation
from papers.command import Work, carry_out, flags
from papers.d3d.gesture_figures import draw
from papers.d3d.gesture_scores import Network, Videos, heads_by_frame, score
from papers.d3d.gesture_text import section
from papers.d3d.gesture_training import (
    FULL,
    MAIN,
    NETWORKS,
    TINY,
    VARIANTS,
    Scale,
    looks,
    train_head,
    train_network,
)
from papers.gesture_videos import Gestures
from papers.learn import curve, folder_of

__all__ = ["NAMES", "main", "measure", "work"]

HERE = Path(__file__).parent
NAMES = (*MAIN, "heads")
HEADS = {f"{n}-layer {kind.upper()}": (kind, n) for kind in ("lstm", "gru") for n in (1, 2, 3)}
LENGTHS = (4, 8, 12, 16, 24, 32)
ERASED = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
# of the test videos, which are the same for all seeds
TEST_SEED = 99


def measure(scale: Scale, name: str, seed: int, out: Path, device: str) -> dict[str, Any]:
    """One network, or all heads on the features of the one that concatenates."""
    if name == "heads":
        return _heads(scale, seed, out, device)
    model, rows = train_network(name, scale, seed, folder_of(out, name, seed, scale), device)
    variant = NETWORKS[name]
    network = Network(model, variant.skip is not None, scale.size)
    videos = _videos("val", TEST_SEED, scale, scale.tests, device, name)
    return {
        **score(network, videos),
        "one clip": round(rows[-1]["val_top1"], 4),
        "train_loss": [round(row["train_loss"], 4) for row in rows],
        "curve": curve(rows, "val_top1"),
        "seconds": round(sum(row["seconds"] for row in rows), 1),
    }


def _videos(split: str, seed: int, scale: Scale, num: int, device: str, name: str) -> Videos:
    return Videos(Gestures(seed, split, device, **looks(scale, NETWORKS[name])), num)


def _heads(scale: Scale, seed: int, out: Path, device: str) -> dict[str, Any]:
    source: Any = train_network(
        "concat", scale, seed, folder_of(out, "concat", seed, scale), device
    )[0]
    videos = [
        _videos(split, drawn, scale, num, device, "concat")
        for split, drawn, num in (
            ("train", seed, scale.videos),
            ("val", seed, scale.val),
            ("val", TEST_SEED, scale.tests),
        )
    ]
    features = [part.features(source) for part in videos]
    parts = tuple(
        (x.cpu(), part.label_N.cpu()) for x, part in zip(features[:2], videos[:2], strict=True)
    )
    label_N = videos[2].label_N

    def head(kind: str, layers: int, name: str, vary: Variation) -> Any:
        options = dict(head=kind, layers=layers)
        rest = scale, seed, folder_of(out, name, seed, scale), device
        return train_head(options, source, parts, vary, *rest).to(device)

    shortest = Variation(shortest=min(16, scale.video))
    heads = {"fc": source.head}
    heads |= {n: head(*kind, f"{kind[0]}{kind[1]}", shortest) for n, kind in HEADS.items()}
    lengths = {}
    for n in LENGTHS:
        if n <= scale.video:
            found = {"": head("lstm", 2, f"length{n}", Variation(n, n, ()))}
            row = heads_by_frame(found, features[2], label_N, ())["heads"][0]
            lengths[str(n)] = row["top-1"]
    return heads_by_frame(heads, features[2], label_N, ERASED) | {"lengths": lengths}


def work(scale: Scale) -> Work:
    """What the command measures."""
    settings = asdict(scale) | {"classes": len(MOTIONS)}
    measured = partial(measure, scale)
    return Work("gestures", settings, NAMES, measured, section, draw, more=tuple(VARIANTS))


def main(argv: list[str] | None = None) -> None:
    parser = flags("papers.d3d.gestures", str(__doc__))
    asked = parser.parse_args(argv)
    carry_out(work(TINY if asked.tiny else FULL), asked, parser, HERE)


if __name__ == "__main__":
    main()
