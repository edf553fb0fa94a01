"""Imports point one way: a module may import only from levels below its own."""

import ast
from pathlib import Path

import lean3d

LEVELS = [
    {"errors", "signals"},
    {"typed"},
    {"shape", "optional", "files", "limits", "lock", "weights"},
    {"ops", "data", "cost", "metrics", "report"},
    {"convert", "stream", "models"},
    {"checkpoints", "tasks", "train", "infer"},
    {"recipes"},
    {"cli"},
]
LEVEL = {part: level for level, parts in enumerate(LEVELS) for part in parts}
ROOT = Path(lean3d.__file__).parent


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


def test_every_part_has_a_level():
    parts = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert parts - {"__init__", "__pycache__", "py"} <= set(LEVEL)


def test_imports_point_down():
    seen = 0
    for file in sorted(ROOT.rglob("*.py")):
        part = file.relative_to(ROOT).with_suffix("").parts[0]
        for used in imported_parts(file):
            if part == "__init__" or used == "__version__":
                continue
            seen += 1
            fits = part == used or LEVEL[used] < LEVEL[part]
            assert fits, f"{file.relative_to(ROOT)} imports lean3d.{used}, which is not below it"
    assert seen > 50


def test_files_hold_one_idea():
    long = {f.name: n for f in ROOT.rglob("*.py") if (n := len(f.read_text().splitlines())) > 250}
    assert not long


def test_test_modules_differ_in_name():
    # pytest imports them by name alone
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert len(names) == len(set(names))
