"""lean3d models 'ir_*'"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lean3d.cli.parse import parse
from lean3d.cli.show import show_json, show_table
from lean3d.errors import RunError
from lean3d.files import write_between
from lean3d.models import ModelEntry, find_model, list_models

__all__ = ["main"]

COLUMNS = {"name": "name", "what": "what it is", "input": "input", "source": "source"}


@dataclass(frozen=True)
class Models:
    """List the networks that lean3d.create_model and --model know.

    Attributes:
        pattern: Which of them, such as 'ir_*'.
        out: A Markdown file that gets the table between its models markers.
    """

    pattern: Annotated[str, tyro.conf.Positional] = "*"
    out: Path | None = None


def main(argv: list[str]) -> None:
    asked = parse(Models, "models", argv)
    rows = [_row(find_model(name)) for name in list_models(asked.pattern)]
    if not rows:
        raise RunError(f"no model is called like {asked.pattern!r}; lean3d models lists them all")
    show_table(rows, COLUMNS)
    if asked.out is not None:
        write_between(asked.out, "models", _markdown(rows))
    show_json(rows)


def _row(entry: ModelEntry) -> dict[str, str]:
    shape = "x".join(map(str, entry.input_shape[1:]))
    return dict(name=entry.name, what=entry.what, input=shape, source=entry.source)


def _markdown(rows: list[dict[str, str]]) -> str:
    lines = [tuple(COLUMNS.values()), ("---",) * len(COLUMNS)]
    lines += [(f"`{row['name']}`", row["what"], row["input"], row["source"]) for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
