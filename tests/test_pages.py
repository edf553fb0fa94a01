"""Paths and links in the pages lead somewhere, and their costs are the measured ones."""

import re
from pathlib import Path

import operators_figure
import pytest

HOME = Path(__file__).parents[1]
CONTRIBUTING = (HOME / "CONTRIBUTING.md").read_text()
PATHS = sorted(set(re.findall(r"`((?:src|tests|benchmarks|docs)/[\w/.]+)`", CONTRIBUTING)))
LINKS = [
    (page, link)
    for page in (*HOME.glob("*.md"), *(HOME / "docs").glob("*.md"))
    for link in re.findall(r"\]\(((?!http)[^)]+)\)", page.read_text())
]


@pytest.mark.parametrize("path", [path for path in PATHS if "NAME" not in path])
def test_paths_in_contributing_exist(path):
    assert (HOME / path).exists()


@pytest.mark.parametrize(("page", "link"), LINKS, ids=lambda v: getattr(v, "stem", v))
def test_links_between_pages_lead_somewhere(page, link):
    path, _, heading = link.partition("#")
    target = page.parent / path if path else page
    # the site makes a page of each notebook
    notebook = target.parent.name == "notebooks" and target.with_suffix(".ipynb").exists()
    assert target.exists() or notebook
    if heading:
        titles = re.findall(r"^#+ (.+)$", target.read_text(), re.M)
        assert heading in [re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in titles]


def test_the_costs_in_the_docs_are_the_measured_ones():
    page = (HOME / "docs" / "operators.md").read_text().partition("## Cost")[2]
    found = [re.findall(r"[\d,.]+", line)[-4:] for line in page.splitlines() if line[:3] == "| `"]
    rows = operators_figure.read(operators_figure.newest())
    assert [[float(v.replace(",", "")) for v in row] for row in found] == [
        [float(row[column]) for column in operators_figure.SERIES] for row in rows
    ]


def test_the_figure_of_costs_has_every_operator_beside_a_dense_one():
    rows = operators_figure.read(operators_figure.newest())
    axes = operators_figure.draw(rows).axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == [r["operator"] for r in rows[1:]]
    params = next(line for line in axes.lines if line.get_label() == "parameters")
    dense = float(rows[0]["params"])
    assert list(params.get_xdata()) == [float(row["params"]) / dense for row in rows[1:]]
