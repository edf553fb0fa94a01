"""Parameters say what they take: few are of any type."""

import ast
from pathlib import Path

import pytest

import lean3d

SOURCE = Path(lean3d.__file__).parent
MOST = 0.05


def parameters(folder):
    """Yield the annotation of every parameter; an empty one if it has none."""
    for file in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                given = node.args
                several = [*given.posonlyargs, *given.args, *given.kwonlyargs]
                for one in [*several, *filter(None, (given.vararg, given.kwarg))]:
                    if one.arg not in ("self", "cls"):
                        yield ast.unparse(one.annotation) if one.annotation else ""


@pytest.mark.parametrize("part", [".", "conversion"])
def test_few_parameters_take_anything(part):
    found = list(parameters(SOURCE / part))
    assert len(found) > 1000
    share = found.count("Any") / len(found)
    assert share < MOST, f"{share:.1%} of the parameters of {part} are Any"
