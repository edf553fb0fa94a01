"""The site of the docs: every page is in its nav, and its reference is whole."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1]
DOCS = HOME / "docs"
PUBLIC = ("", ".ops", ".cost", ".data", ".infer", ".recipes", ".metrics")


def nav_pages():
    nav = (HOME / "mkdocs.yml").read_text().split("\nnav:\n")[1]
    return re.findall(r": (\S+\.md)$", nav, re.M)


def test_every_page_is_in_the_nav_once():
    pages = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
    assert sorted(nav_pages()) == pages


def documented():
    text = "\n".join(page.read_text() for page in (DOCS / "api").glob("*.md"))
    return re.findall(r"^::: (\S+)$", text, re.M)


def thing_at(name):
    package, _, last = name.rpartition(".")
    return getattr(importlib.import_module(package), last)


@pytest.mark.parametrize("name", documented())
def test_the_reference_names_what_can_be_imported(name):
    assert thing_at(name) is not None


def test_the_reference_names_everything_public_once():
    names = documented()
    assert len(names) == len(set(names))
    shown = [id(thing_at(name)) for name in names]
    for package in (importlib.import_module(f"lean3d{part}") for part in PUBLIC):
        for name in set(package.__all__) - {"__version__", "ops"}:
            assert shown.count(id(getattr(package, name))) == 1, f"{package.__name__}.{name}"


def test_the_first_page_prints_what_it_says(capsys):
    page = (DOCS / "index.md").read_text()
    code, output = re.search(r"```python\n(.*?)```\n+```text\n(.*?)```", page, re.S).groups()
    exec(code, {})
    assert capsys.readouterr().out == output


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason="make docs builds the site")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        tmp_path,
    ]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=HOME, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "api" / "index.html").exists()
