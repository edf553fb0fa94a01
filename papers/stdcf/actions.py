"""Claims 6 and 7, atoms on six motions: `python -m papers.stdcf.actions [--seeds 0 1 2]`.

Paper: Miao et al., STDCF, NeurIPS 2021, Tables 1 and 2, Figs 3 and 5
Dilated atoms rescue a mismatch of space or time; two stages by turns lose little at half the
memory. Six motions of handwritten digits stand for KTH, which `--data kth:DIR` takes, with the
paper's settings. A network and seed takes half a minute to two and a half of an H200 (--device
cuda); ten minutes to an hour and a half of a CPU core, all of them twelve hours; with --small (half
the width of frames and networks) two to twenty minutes of a core.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from papers.command import Work, carry_out, flags
from papers.learn import folder_of
from papers.stdcf.action_figure import draw
from papers.stdcf.action_text import section
from papers.stdcf.action_training import (
    FORMS,
    FULL,
    KTH,
    SMALL,
    TINY,
    Clips,
    Scale,
    by_turns,
    memory,
    mismatched,
    on_whole,
)

__all__ = ["NAMES", "main", "work"]

HERE = Path(__file__).parent
Learns = Callable[[Clips, Path], dict[str, Any]]
NETWORKS: dict[str, Learns] = {f"{form} whole": partial(on_whole, form) for form in FORMS}
NETWORKS |= {f"{form} turns": partial(by_turns, form) for form in FORMS}
NETWORKS |= {name: partial(mismatched, name) for name in ("small", "spread")}
NAMES = (*NETWORKS, "memory")


def work(scale: Scale) -> Work:
    """What the command measures."""
    measure = partial(_one, scale)
    stem = "actions_kth" if scale.data else "actions_small" if scale == SMALL else "actions"
    return Work(stem, asdict(scale), NAMES, measure, section, draw, tune=True)


def _one(scale: Scale, name: str, seed: int, runs: Path, device: str) -> dict[str, Any]:
    clips = Clips(scale, seed, device)
    if name == "memory":
        return memory(clips)
    return NETWORKS[name](clips, folder_of(runs, name, seed, scale))


def main(argv: list[str] | None = None) -> None:
    parser = flags("papers.stdcf.actions", str(__doc__))
    parser.add_argument("--small", action="store_true", help="a size for CPUs: four core-hours")
    parser.add_argument("--data", default="", help="kth:DIR, the paper's own videos")
    asked = parser.parse_args(argv)
    if asked.small and asked.data:
        parser.error("--small draws digits; leave out one of --small and --data")
    full = KTH if asked.data else SMALL if asked.small else FULL
    scale = replace(TINY if asked.tiny else full, data=asked.data)
    carry_out(work(scale), asked, parser, HERE)


if __name__ == "__main__":
    main()
