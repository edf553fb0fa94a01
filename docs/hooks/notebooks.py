"""Shows docs/notebooks/NAME.ipynb, with its outputs, as the page notebooks/NAME.md."""

import json
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

DOWNLOAD = "[This page as a notebook]({name}.ipynb)"


def on_files(files: Files, config: Any, **_: Any) -> Files:
    for path in sorted((Path(config.docs_dir) / "notebooks").glob("*.ipynb")):
        page = f"notebooks/{path.stem}.md"
        files.append(File.generated(config, page, content=markdown(path)))
    return files


def markdown(path: Path) -> str:
    """The cells as Markdown: code, then its output as text or picture; checks are left out."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    parts = [part for cell in cells for part in _cell(cell)]
    # below the title
    return "\n\n".join([parts[0], DOWNLOAD.format(name=path.stem), *parts[1:]]) + "\n"


def _cell(cell: dict[str, Any]) -> list[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return [source]
    lines = source.splitlines()
    if all(line.startswith(("assert ", "    ", ")")) for line in lines):
        return []
    return [f"```python\n{source}\n```", *map(_output, cell["outputs"])]


def _output(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        return f"![output](data:image/png;base64,{''.join(data['image/png']).strip()})"
    text = "".join(output.get("text") or data.get("text/plain", ""))
    return f"```text\n{text.rstrip()}\n```"
