"""Shape, Cost and State of a docstring, each a line of its own, as sections of the reference."""

import re
from typing import Any

import griffe

LINE = re.compile(r"^(Shape|Cost|State): (.*(?:\n[ ]{4,}.*)*)", re.M)


class Sections(griffe.Extension):
    def on_object(self, *, obj: Any, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = LINE.sub(as_section, obj.docstring.value)


def as_section(found: re.Match) -> str:
    lines = [line.strip() for line in found[2].splitlines()]
    return "\n".join([f"\n{found[1]}:", *(f"    {line}" for line in lines)])
