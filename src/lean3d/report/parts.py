"""Content of a page's section, besides plain text: tables, pictures, code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any, Literal

from lean3d.report.cells import Columns, Row, column_names, column_texts, is_number
from lean3d.report.drawing import png_uri, svg_uri

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Code", "Part", "Picture", "Table", "part_html"]

# inches of a figure that is scrolled on a phone
WIDE = 7


@dataclass(frozen=True)
class Table:
    """Rows under their headers, the best values in bold.

    Args:
        columns: Keys in order, or key -> header with its unit; every key of the rows by default.
        best: Key -> whether its best is the "max" or the "min"; ties are all bold.
    """

    rows: Sequence[Row]
    columns: Columns = None
    best: Mapping[str, Literal["max", "min"]] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """A figure, as sharp lines ("svg") or, for pictures of volumes, as pixels ("png")."""

    figure: "Figure"
    caption: str = ""
    kind: Literal["svg", "png"] = "svg"


@dataclass(frozen=True)
class Code:
    """Text to be read letter by letter: commands, a recipe, a log."""

    text: str


Part = str | Table | Picture | Code


def part_html(part: Part) -> str:
    """One part as HTML; every text in it is escaped."""
    if isinstance(part, Table):
        return _table(part)
    if isinstance(part, Picture):
        return _picture(part)
    if isinstance(part, Code):
        return f"<pre><code>{escape(part.text)}</code></pre>"
    return f"<p>{escape(part)}</p>"


def _table(table: Table) -> str:
    named = column_names(table.rows, table.columns)
    columns = [_column(table, key, header) for key, header in named.items()]
    head, *body = ["".join(cells) for cells in zip(*columns, strict=True)] or [""]
    rows = "\n".join(f"<tr>{row}</tr>" for row in body)
    return (
        f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )


def _column(table: Table, key: str, header: str) -> list[str]:
    values = [row.get(key) for row in table.rows]
    kind = "" if any(map(is_number, values)) else ' class="text"'
    # a header may be broken into lines, but not between a number and its unit
    title = escape(header).replace(" %", "&nbsp;%")
    texts = column_texts(values)
    best = _best(values, texts, table.best.get(key))
    cells = [f"<b>{escape(text)}</b>" if text == best else escape(text) for text in texts]
    return [f"<th{kind}>{title}</th>", *(f"<td{kind}>{cell}</td>" for cell in cells)]


def _best(values: Sequence[Any], texts: Sequence[str], which: str | None) -> str | None:
    """Return the text of the best value; equal texts are equally good."""
    numbers = [(value, text) for value, text in zip(values, texts, strict=True) if is_number(value)]
    if which is None or not numbers:
        return None
    return max(numbers)[1] if which == "max" else min(numbers)[1]


def _picture(picture: Picture) -> str:
    uri = svg_uri(picture.figure) if picture.kind == "svg" else png_uri(picture.figure)
    caption = escape(picture.caption)
    under = f"<figcaption>{caption}</figcaption>" if caption else ""
    # three planes, or two plots, beside each other are scrolled, not shrunk, on a phone
    beside = picture.kind == "png" or picture.figure.get_figwidth() > WIDE
    wide = ' class="wide"' if beside else ""
    shown = f'<div class="scroll"><img{wide} src="{uri}" alt="{caption or "figure"}"></div>'
    return f"<figure>{shown}{under}</figure>"
