"""One self-contained HTML page: no link, no script, readable offline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path

from lean3d.files import write_text
from lean3d.report.parts import Code, Part, part_html

__all__ = ["Section", "page_html", "write_page"]

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<h1>{title}</h1>
{body}
{footer}
</body>
</html>
"""


@dataclass(frozen=True)
class Section:
    """A heading and its content: text, Table, Picture or Code, in order."""

    title: str
    parts: Sequence[Part]


def write_page(
    path: str | Path,
    title: str,
    sections: Sequence[Section],
    facts: Mapping[str, object] | None = None,
) -> None:
    """Write the page atomically.

    Args:
        facts: Facts needed to repeat it: commands, recipe, versions, hardware, date, commit. They
            are in the footer; a list is shown as lines of code, a dict as lines of "key: value",
            and None is omitted.

    Raises:
        DataError: the file cannot be written.
    """
    write_text(path, page_html(title, sections, facts))


def page_html(
    title: str, sections: Sequence[Section], facts: Mapping[str, object] | None = None
) -> str:
    """Return the page as text; all text content is escaped."""
    style = files("lean3d.report").joinpath("style.css").read_text("utf-8")
    body = "\n".join(map(_section, sections))
    return PAGE.format(title=escape(title), style=style, body=body, footer=_footer(facts or {}))


def _section(section: Section) -> str:
    parts = "\n".join(map(part_html, section.parts))
    return f"<section>\n<h2>{escape(section.title)}</h2>\n{parts}\n</section>"


def _footer(facts: Mapping[str, object]) -> str:
    known = {name: fact for name, fact in facts.items() if fact is not None}
    if not known:
        return ""
    rows = "\n".join(f"<dt>{escape(k)}</dt><dd>{_fact(fact)}</dd>" for k, fact in known.items())
    return f"<footer>\n<h2>How this was made</h2>\n<dl>\n{rows}\n</dl>\n</footer>"


def _fact(fact: object) -> str:
    if isinstance(fact, Mapping):
        fact = [f"{key}: {value}" for key, value in fact.items()]
    if isinstance(fact, list | tuple):
        return part_html(Code("\n".join(map(str, fact))))
    return escape(str(fact))
