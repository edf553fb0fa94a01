"""Imports point one way: a module may import only from levels below its own."""

import ast
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import lean3d

LEVELS = [
    {"errors", "signals"},
    {"typed"},
    {"shape", "optional", "files", "limits", "lock", "plugins", "table", "weights"}
    | {"guesses", "torch_functions", "tracer"},
    {"kernels", "processes"},
    {"ops", "data", "cost", "metrics", "report"},
    {"conversion", "streaming", "models"},
    {"checkpoints", "tasks", "train", "infer"},
    {"networks", "runtime"},
    {"lightening"},
    {"recipes"},
    {"cli"},
]
LEVEL = {part: level for level, parts in enumerate(LEVELS) for part in parts}
ROOT = Path(lean3d.__file__).parent
HOME = Path(__file__).parents[1]
DOTTED = re.compile(r"\blean3d(?:\.[A-Za-z_]\w*)+\b(?!/)")


def imported_parts(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            if node.module == "lean3d":
                names = [f"lean3d.{alias.name}" for alias in node.names]
            assert node.level == 0, f"{file} imports relatively"
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("lean3d."))


def test_the_picture_of_the_house_is_that_of_the_levels():
    text = (HOME / "CONTRIBUTING.md").read_text()
    drawn = text.split("src/lean3d/\n")[1].split("```")[0].splitlines()
    # a line begins with the parts of a level; what they are for follows after two spaces or more
    words = [set(re.split(r"\s+", line.strip())) for line in drawn]
    assert set().union(*LEVELS) <= set().union(*words)
    places = {part: next(i for i, line in enumerate(words) if part in line) for part in LEVEL}
    order = sorted(LEVEL, key=places.get)
    assert [LEVEL[part] for part in order] == sorted(LEVEL.values())


def test_every_part_has_a_level():
    parts = {path.relative_to(ROOT).with_suffix("").parts[0] for path in ROOT.rglob("*.py")}
    assert parts - {"__init__", "__main__"} == set(LEVEL)


def test_imports_point_down():
    seen = 0
    for file in sorted(ROOT.rglob("*.py")):
        part = file.relative_to(ROOT).with_suffix("").parts[0]
        for used in imported_parts(file):
            if part in ("__init__", "__main__") or used == "__version__":
                continue
            seen += 1
            fits = part == used or LEVEL[used] < LEVEL[part]
            assert fits, f"{file.relative_to(ROOT)} imports lean3d.{used}, which is not below it"
    assert seen > 50


def submodules():
    return [m.name for m in pkgutil.walk_packages(lean3d.__path__, "lean3d.")]


@pytest.mark.parametrize("name", submodules())
def test_no_name_hides_a_module(name):
    if name.endswith("_triton"):  # kernels, which need the package to be imported
        pytest.importorskip("triton")
    package, _, last = name.rpartition(".")
    assert getattr(importlib.import_module(package), last, None) in (
        None,
        importlib.import_module(name),
    )


def dotted_names():
    pages = [*(HOME / "docs").rglob("*.md"), *HOME.glob("*.md")]
    found = {name for page in pages for name in DOTTED.findall(page.read_text())}
    return sorted(found - {"lean3d.net"})


@pytest.mark.parametrize("name", dotted_names())
def test_names_in_the_docs_are_there_and_not_deep(name):
    _, *path = name.split(".")
    thing = lean3d
    for part in path:
        if not hasattr(thing, part):
            importlib.import_module(f"{thing.__name__}.{part}")
        thing = getattr(thing, part)
    assert len(path) <= 2, f"{name}: export it from lean3d.{path[0]}"


def test_test_modules_differ_in_name():
    # pytest imports them by name alone
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert len(names) == len(set(names))
