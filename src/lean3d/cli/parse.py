"""Parse flags into a dataclass."""

import contextlib
import io
import re
import sys
from typing import Any, TypeVar

import tyro

from lean3d.errors import RunError

__all__ = ["parse"]

Arguments = TypeVar("Arguments")

# characters of a box's frame: ASCII or, if the terminal has them, lines and corners
FRAME = "│|╭╮╰╯─"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def parse(
    kind: type[Arguments], command: str, argv: list[str], default: Arguments | None = None
) -> Arguments:
    """Read `argv` into `kind`.

    Raises:
        RunError: a flag is unknown or missing, or its value cannot be read.
    """
    config = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    more: Any = {} if default is None else {"default": default}
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(kind, prog=f"lean3d {command}", args=argv, config=config, **more)
    except SystemExit as stopped:
        if stopped.code != 2:
            sys.stderr.write(said.getvalue())
            raise
        raise RunError(f"{_sentence(said.getvalue())}; see lean3d {command} --help") from None


def _sentence(box: str) -> str:
    """Return the error in tyro's box: title, rule, error, rule, similar flags, ..."""
    title, *blocks = _blocks(box)
    if title[0].strip().startswith("Required"):
        wrong = f"required: {', '.join(_flags(blocks[0][1:]))}"
    else:
        wrong = " ".join(line.strip() for line in blocks[0])
    near = [flag for block in blocks[1:] if "Perhaps" in block[0] for flag in _flags(block[1:])]
    names = [flag.split()[0] for flag in near[:2]]
    return f"{wrong}; did you mean {' or '.join(names)}?" if names else wrong.rstrip(".")


def _blocks(box: str) -> list[list[str]]:
    """Return the lines of a box without its frame, split at its rules."""
    blocks: list[list[str]] = [[]]
    for line in COLOUR.sub("", box).splitlines():
        inside = line.strip(FRAME).rstrip()
        if inside.strip(" -─"):
            blocks[-1].append(inside)
        if not inside.strip(" -─") or "─" in line:
            blocks.append([])
    return [block for block in blocks if block]


def _flags(lines: list[str]) -> list[str]:
    """Return lines that name a flag; explanations are indented further."""
    depths = [len(line) - len(line.lstrip()) for line in lines]
    return [line.strip() for line, d in zip(lines, depths, strict=True) if d == min(depths)]
