"""The notebooks of docs run from their first cell to their last, whose asserts hold."""

import os
import re
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1]
NOTEBOOKS = sorted((HOME / "docs" / "notebooks").glob("*.ipynb"))


def read(path):
    return pytest.importorskip("nbformat").read(path, as_version=4)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_in_the_nav_and_holds_its_outputs(path):
    assert f"notebooks/{path.stem}.md" in (HOME / "mkdocs.yml").read_text()
    book = read(path)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not any(output.output_type == "error" for cell in code for output in cell.outputs)
    assert any(cell.source.startswith("assert") for cell in code)
    # every link of it is a page
    text = "\n".join(cell.source for cell in book.cells if cell.cell_type == "markdown")
    for link in re.findall(r"\]\(([^)]+)\)", text):
        target = (path.parent / link).resolve()
        assert target.exists() or target.with_suffix(".ipynb").exists(), link


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    client = pytest.importorskip("nbclient")
    # the model zoos lie apart here; see benchmarks/zoo.py
    (tmp_path / "sitecustomize.py").write_text("import zoo\n")
    paths = [str(tmp_path), str(HOME / "benchmarks"), str(HOME / "src")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    place = {"metadata": {"path": str(tmp_path)}}
    client.NotebookClient(read(path), timeout=1200, resources=place).execute()
