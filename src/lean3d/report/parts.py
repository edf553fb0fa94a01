"""Content of a page's section, besides plain text: tables, pictures, code."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Literal

from lean3d.report.cells import Columns, Row, column_names, column_texts, is_number
from lean3d.report.drawing import png_uri, svg_uri

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Code", "Part", "Picture", "Table", "part_html"]

# inches of a figure that is scrolled on a phone
WIDE = 7


@dataclass(frozen=True)
class Table:
    """Rows under their headers.

    Args:
        columns: Keys in order, or key -> header with its unit; every key of the rows by default.
    """

    rows: Sequence[Row]
    columns: Columns = None


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
    columns = [_column(table.rows, key, header) for key, header in named.items()]
    head, *body = ["".join(cells) for cells in zip(*columns, strict=True)] or [""]
    rows = "\n".join(f"<tr>{row}</tr>" for row in body)
    return (
        f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )


def _column(rows: Sequence[Row], key: str, header: str) -> list[str]:
    values = [row.get(key) for row in rows]
    kind = "" if any(map(is_number, values)) else ' class="text"'
    # a header may be broken into lines, but not between a number and its unit
    title = escape(header).replace(" %", "&nbsp;%")
    cells = (f"<td{kind}>{escape(text)}</td>" for text in column_texts(values))
    return [f"<th{kind}>{title}</th>", *cells]


def _picture(picture: Picture) -> str:
    uri = svg_uri(picture.figure) if picture.kind == "svg" else png_uri(picture.figure)
    caption = escape(picture.caption)
    under = f"<figcaption>{caption}</figcaption>" if caption else ""
    # three planes, or two plots, beside each other are scrolled, not shrunk, on a phone
    beside = picture.kind == "png" or picture.figure.get_figwidth() > WIDE
    wide = ' class="wide"' if beside else ""
    shown = f'<div class="scroll"><img{wide} src="{uri}" alt="{caption or "figure"}"></div>'
    return f"<figure>{shown}{under}</figure>"
