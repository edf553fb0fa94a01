"""Claims 6 and 7, atoms on six motions: `python -m papers.stdcf.actions [--seeds 0 1 2]`.

Paper: Miao et al., STDCF, NeurIPS 2021, Tables 1 and 2, Figs 3 and 5
Dilated atoms rescue a mismatch of space or time; two stages by turns lose little at half the
memory. Six motions of handwritten digits stand for KTH, which `lean3d train kth_stdcf --data
kth:DIR` takes. A network and seed takes half a minute to two and a half of an H200 (--device cuda);
ten minutes to an hour and a half of a CPU core, all of them twelve hours; with --small (half the
width of frames and networks) two to twenty minutes of a core.
"""

from collections.abc import Callable
from dataclasses import asdict
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
    stem = "actions_small" if scale == SMALL else "actions"
    return Work(stem, asdict(scale), NAMES, measure, section, draw, tune=True)


def _one(scale: Scale, name: str, seed: int, runs: Path, device: str) -> dict[str, Any]:
    clips = Clips(scale, seed, device)
    if name == "memory":
        return memory(clips)
    return NETWORKS[name](clips, folder_of(runs, name, seed, scale))


def main(argv: list[str] | None = None) -> None:
    parser = flags("papers.stdcf.actions", str(__doc__))
    parser.add_argument("--small", action="store_true", help="a size for CPUs: four core-hours")
    asked = parser.parse_args(argv)
    full = SMALL if asked.small else FULL
    carry_out(work(TINY if asked.tiny else full), asked, parser, HERE)


if __name__ == "__main__":
    main()
