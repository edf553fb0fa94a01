"""Every promise of docs/reliability.md has tests, and they are there."""

import ast
from pathlib import Path

import matrix
import pytest
import reliability

HOME = Path(__file__).parent.parent
PAGE = HOME / "docs" / "reliability.md"


def names_in(file):
    return {node.name for node in ast.parse(file.read_text()).body if hasattr(node, "name")}


@pytest.mark.parametrize("promise", reliability.PROMISES, ids=lambda promise: promise.what)
def test_every_promise_has_tests_that_exist(promise):
    assert promise.tests
    for name in promise.tests:
        file, _, test = name.partition("::")
        assert (HOME / file).is_file(), name
        assert not test or test in names_in(HOME / file), name


def test_the_page_is_what_the_command_writes():
    begin, end = "<!-- promises: begin -->\n", "\n<!-- promises: end -->"
    written = PAGE.read_text().partition(begin)[2].partition(end)[0]
    assert written == reliability.page(*reliability.figures()), "run: benchmarks/reliability.py"


def test_figures_are_counts_of_the_tests_that_are_named():
    promise = reliability.Promise("a", "b", ("tests/a.py", "tests/b.py::test_x"), ("scans",))
    record = {
        "tests/a.py": {"tests": {"test_1": {"passed": 2}}},
        "tests/b.py": {"tests": {"test_x": {"passed": 1, "failed": 3}, "test_y": {"passed": 9}}},
    }
    assert reliability.tests_figure(promise, record) == "3 passed, 3 failed"
    fuzz = {"surfaces": {"scans": {"result": 5, "refused": 4, "crash": 1}, "videos": {"crash": 9}}}
    assert reliability.fuzz_figure(promise, fuzz) == "10 inputs, 1 broke it"


def test_the_matrix_runs_tests_that_there_are():
    paths = [*matrix.TESTS.split(), *matrix.MORE.split()]
    assert [path for path in paths if not (HOME / path).exists()] == []
