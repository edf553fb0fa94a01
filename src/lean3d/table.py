"""Lay out columns of text as an aligned table, in blocks that fit a width."""

import textwrap
from collections.abc import Collection, Sequence
from itertools import zip_longest

__all__ = ["lay_out", "wrap"]

GAP = "  "
# a column whose texts are wrapped keeps this many characters, or a third of the width
SHORTEST = 16
# of each row the lines of its cell
Column = list[list[str]]


def lay_out(
    columns: Sequence[Sequence[str]],
    *,
    right: Collection[int] = (),
    width: int | None = None,
    total: bool = False,
) -> str:
    """Return a header, a rule and the rows.

    A table wider than `width` has long texts wrapped, long words cut in the middle, and the columns
    that still do not fit in further blocks below, each with the first column.

    Args:
        columns: Texts of each column, its header first.
        right: Numbers of the columns aligned to the right.
        total: Add a rule before the last row.
    """
    if not columns:
        return ""
    cells = [[[text] for text in column] for column in columns]
    if width and _wide(cells) > width:
        limit = max(width // 3, SHORTEST)
        cells = [
            column if number in right else [_lines(text, limit) for (text,) in column]
            for number, column in enumerate(cells)
        ]
    padded = [_padded(column, number in right) for number, column in enumerate(cells)]
    return "\n\n".join(_block(block, total) for block in _blocks(padded, width))


def wrap(lines: Sequence[str], width: int | None) -> str:
    """Return sentences as lines of at most `width` characters."""
    if width is None:
        return "\n".join(lines)
    return "\n".join(textwrap.fill(line, width, subsequent_indent="  ") for line in lines)


def _wide(columns: Sequence[Column]) -> int:
    widest = (max(len(line) for cell in column for line in cell) for column in columns)
    return sum(widest) + len(GAP) * (len(columns) - 1)


def _lines(text: str, limit: int) -> list[str]:
    lines = textwrap.wrap(text, limit, break_long_words=False, break_on_hyphens=False)
    return [_cut(line, limit) for line in lines] or [""]


def _cut(word: str, limit: int) -> str:
    if len(word) <= limit:
        return word
    # the end of a path says more than its beginning
    head = (limit - 3) // 3
    return f"{word[:head]}...{word[head + 3 - limit :]}"


def _padded(column: Column, right: bool) -> Column:
    width = _wide([column])
    return [[line.rjust(width) if right else line.ljust(width) for line in c] for c in column]


def _blocks(cells: list[Column], width: int | None) -> list[list[Column]]:
    first, *others = cells
    blocks = [[first]]
    for column in others:
        if width and len(blocks[-1]) > 1 and _wide([*blocks[-1], column]) > width:
            blocks.append([first])
        blocks[-1].append(column)
    return blocks


def _block(columns: list[Column], total: bool) -> str:
    empty = [" " * _wide([column]) for column in columns]
    rows = []
    for cells in zip(*columns, strict=True):
        lines = zip_longest(*cells)
        rows.append([_line(line, empty) for line in lines])
    rule = "-" * max(len(line) for row in rows for line in row)
    head, *body = ["\n".join(row) for row in rows]
    if total:
        body.insert(-1, rule)
    return "\n".join([head, rule, *body])


def _line(cells: Sequence[str | None], empty: Sequence[str]) -> str:
    texts = (blank if cell is None else cell for cell, blank in zip(cells, empty, strict=True))
    return GAP.join(texts).rstrip()
