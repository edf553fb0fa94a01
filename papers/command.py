"""What the commands of the measured claims have in common: their flags, pieces and results."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lean3d.files import write_between
from papers.results import Results
from papers.trained import DEVICES, prepare

__all__ = ["Work", "carry_out", "flags", "plain", "publish", "small"]

AGAIN = """\
What the results file beside the README or the folder of runs holds is not trained again; to measure
anew, delete both. Processes side by side take --pieces DIR and a part of the work each (--seeds,
--networks); --pieces DIR --collect then writes results, table and figure."""


@dataclass(frozen=True)
class Work:
    """Networks that are trained from several seeds and compared.

    Args:
        stem: Name of the results file, of the figure, and of the section in the README.
        settings: What all results have in common.
        measure: Results of a network, from its name, seed, folder of runs and device.
        section: The text for the README.
        draw: Draws the figure at a path without suffix.
        tune: As `prepare` takes it.
        more: Names that are measured only when --networks has them.
    """

    stem: str
    settings: dict[str, Any]
    names: Sequence[str]
    measure: Callable[[str, int, Path, str], dict[str, Any]]
    section: Callable[[Results], str]
    draw: Callable[[Results, Path], None]
    tune: bool = False
    more: Sequence[str] = ()


def plain(prog: str, about: str) -> argparse.ArgumentParser:
    """A parser without flags, whose help is the module's text."""
    return argparse.ArgumentParser(
        prog=f"python -m {prog}",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def small(prog: str, about: str) -> argparse.ArgumentParser:
    """A parser with --tiny alone, of a command that measures everything at once."""
    parser = plain(prog, about)
    parser.add_argument("--tiny", type=Path, metavar="DIR", help="a trial of seconds, into DIR")
    return parser


def publish(folder: Path, name: str, text: str, tiny: Path | None) -> None:
    """Print a section, and write it into the README of the folder unless it is a trial's."""
    if tiny is None:
        write_between(folder / "README.md", name, text)
    print(text)


def flags(prog: str, about: str) -> argparse.ArgumentParser:
    """A parser with the flags that `carry_out` reads, and --tiny."""
    parser = plain(prog, about)
    parser.epilog = AGAIN
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--networks", nargs="*", help="a part of them, by their names in the table")
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    parser.add_argument("--tf32", action="store_true", help="round products on a GPU to 10 bits")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where run folders lie")
    parser.add_argument("--pieces", type=Path, help="write a file an entry into this folder")
    parser.add_argument("--collect", action="store_true", help="train nothing, read the pieces")
    parser.add_argument("--tiny", action="store_true", help="a trial of seconds, with --pieces")
    return parser


def carry_out(
    work: Work, asked: argparse.Namespace, parser: argparse.ArgumentParser, home: Path
) -> None:
    """Measure what is asked and missing; write the results, the figure and the section.

    With --pieces only pieces are written, until --collect.
    """
    known = (*work.names, *work.more)
    names = work.names if asked.networks is None else asked.networks
    if unknown := [name for name in names if name not in known]:
        parser.error(f"no network {unknown[0]!r}; there are {', '.join(known)}")
    if asked.pieces is None and (asked.collect or asked.tiny):
        parser.error("--collect and --tiny need --pieces with a folder")
    home = asked.pieces / "tiny" if asked.tiny else home
    pieces = asked.pieces and asked.pieces / work.stem
    rounded = asked.tf32 and asked.device != "cpu"
    results = Results(home / f"{work.stem}.json", work.settings, pieces, tf32=rounded)
    runs = asked.runs / work.stem
    if not asked.collect:
        prepare(asked.device, asked.tf32, work.tune)
        for seed in asked.seeds:
            for name in names:
                print(f"{work.stem}, seed {seed}: {name}", file=sys.stderr, flush=True)
                results.get(name, seed, partial(work.measure, name, seed, runs, asked.device))
        if pieces is not None:
            return
    if not results.entries:
        parser.error(f"there are no results of these settings in {results.path} or the pieces yet")
    results.entries.sort(key=lambda entry: (entry["seed"], known.index(entry["name"])))
    results.collect()
    text = work.section(results)
    work.draw(results, home / work.stem)
    if not asked.tiny:
        write_between(home / "README.md", work.stem, text)
    print(text)
