"""The site of the docs: every page is in its nav, and what it says of the source is so."""

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lean3d
from lean3d.conversion.methods import table

HOME = Path(__file__).parents[1]
DOCS, SOURCE = HOME / "docs", Path(lean3d.__file__).parent
PUBLIC = ("", ".ops", ".cost", ".data", ".infer", ".networks", ".recipes", ".metrics", ".runtime")
PUBLIC += (".lightening",)
REFUSALS = ("ConversionError", "refuse")
HOP = re.compile(r"\| \d+ \| `([\w/.]+)` \| `([\w.]+)` \|")


def nav_pages():
    nav = (HOME / "mkdocs.yml").read_text().split("\nnav:\n")[1]
    return re.findall(r": (\S+\.md)$", nav, re.M)


def test_every_page_is_in_the_nav_once():
    pages = [str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")]
    # docs/hooks/notebooks.py makes a page of each
    pages += [str(path.relative_to(DOCS).with_suffix(".md")) for path in DOCS.rglob("*.ipynb")]
    assert sorted(nav_pages()) == sorted(pages)


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


def raised_by(function):
    """Whether its own body raises, not a function within it."""
    if function.__code__.co_filename == "<string>":  # written by dataclass
        return False
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    todo = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda):
            continue
        if isinstance(node, ast.Raise) and node.exc is not None:
            return "NotImplementedError" not in ast.unparse(node)
        todo += ast.iter_child_nodes(node)
    return False


def functions_with_words():
    """Every documented function and method, with its docstring and that of its class."""
    for name in documented():
        thing = thing_at(name)
        told = inspect.getdoc(thing) or ""
        if inspect.isfunction(thing):
            yield name, thing, told
        elif inspect.isclass(thing):
            for part, function in vars(thing).items():
                if inspect.isfunction(function) and (part[0] != "_" or part == "__init__"):
                    yield f"{name}.{part}", function, told + (function.__doc__ or "")


def test_what_raises_says_when():
    silent = [
        name
        for name, function, told in functions_with_words()
        if not re.search(r"[Rr]aises?\b", told) and raised_by(function)
    ]
    assert not silent


def hops(section):
    page = (DOCS / "architecture.md").read_text()
    part = page.split(f"<!-- hops: {section} -->")[1]
    return HOP.findall(part[: part.index("\n\n", part.index("| 1 |"))])


def functions_of(file):
    found = set()
    for node in ast.parse((SOURCE / file).read_text()).body:
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{f.name}" for f in node.body if isinstance(f, ast.FunctionDef)}
        elif isinstance(node, ast.FunctionDef):
            found.add(node.name)
    return found


@pytest.mark.parametrize("section", ["convert", "train", "stream", "delayed stream"])
def test_hops_of_the_architecture_page_are_functions_of_their_files(section):
    assert len(hops(section)) > 5
    for file, function in hops(section):
        assert function in functions_of(file), f"{file} has no {function}"


class Standardised(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(24, 3, 3, 3))

    def forward(self, x):
        return F.conv2d(x, self.weight - self.weight.mean(), padding=1)


def at_the_kernel(call):
    """(file, function) of the library's calls on the stack when ops/fast.py convolves."""
    code, stack = lean3d.ops.fast.conv3d.__code__, []

    def watch(frame, event, argument):
        if event == "call" and frame.f_code is code and not stack:
            while frame:
                if Path(frame.f_code.co_filename).is_relative_to(SOURCE):
                    file = Path(frame.f_code.co_filename).relative_to(SOURCE)
                    stack.append((str(file), frame.f_code.co_name))
                frame = frame.f_back

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        call()
    finally:
        sys.setprofile(before)
    return stack[::-1]


def short(section):
    return [(file, function.rpartition(".")[2]) for file, function in hops(section)]


def test_hops_of_a_converted_forward_are_those_of_its_stack():
    rows = hops("convert")
    deep = lean3d.convert(nn.Sequential(Standardised()).eval(), lean3d.ACS())
    x = torch.randn(1, 3, 8, 9, 10)
    deep(x)  # the first call makes the operator
    stack = at_the_kernel(lambda: deep(x))
    assert stack[stack.index(short("convert")[0]) :] == short("convert")
    files = {file for file, _ in rows}
    assert len(rows) <= 6
    assert len(files) <= 4
    said = f"These are {len(rows)} hops in {len(files)} files."
    assert said in (DOCS / "architecture.md").read_text()


@pytest.mark.parametrize(
    ("section", "name", "wait"),
    [("stream", "d_resnet_18", False), ("delayed stream", "resnet3d_18", True)],
)
def test_hops_of_a_stream_are_those_of_its_stack(section, name, wait):
    live = lean3d.stream(lean3d.create_model(name, num_classes=3).eval(), wait=wait, check=False)
    frames = torch.randn(1, 3, live.chunk, 32, 32)
    _, state = live.step(frames, live.init())
    assert at_the_kernel(lambda: live.step(frames, state)) == short(section)


def test_the_architecture_page_draws_every_file_of_the_conversion():
    page = (DOCS / "architecture.md").read_text()
    drawn = page.split("```text\nconversion/\n")[1].split("```")[0]
    files = [path.name for path in (SOURCE / "conversion").rglob("*.py") if path.stem != "__init__"]
    assert sorted(re.findall(r"\b\w+\.py\b", drawn)) == sorted(files)


def refusal_words():
    """Of each refusal of the conversion its file, its line and its longest fixed words."""
    for file in sorted((SOURCE / "conversion").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = ast.unparse(node.func).rpartition(".")[2]
            if name in REFUSALS:
                sentence = node.args[1 if name == "refuse" else 0]
                parts = [n.value for n in ast.walk(sentence) if isinstance(n, ast.Constant)]
                words = [" ".join(part.split()) for part in parts if isinstance(part, str)]
                words = [part.strip(" :;,.()'") for part in words]
                longest = max(words, key=len, default="")
                if len(longest) > 8:
                    yield f"{file.name}:{node.lineno}", longest


def test_every_refusal_is_found_by_its_words():
    page = (DOCS / "my_model_was_refused.md").read_text().replace("**", "")
    page = " ".join(page.split())
    found = list(refusal_words())
    assert len(found) > 50
    missing = [(place, words) for place, words in found if words not in page]
    assert not missing


def test_the_methods_of_the_docs_are_those_registered():
    page = (DOCS / "commands.md").read_text().split("## Methods by name")[1]
    said = re.findall(r"^\| `(\w+)` \| `(.*)` \| (.*) \|$", page, re.M)
    assert said == [tuple(row.values()) for row in table()]


def test_the_first_page_prints_what_it_says(capsys):
    page = (DOCS / "index.md").read_text()
    code, output = re.search(r"```python\n(.*?)```\n+```text\n(.*?)```", page, re.S).groups()
    exec(code, {})
    assert capsys.readouterr().out == output


@pytest.mark.slow
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
    assert "lean3d.convert" in (tmp_path / "api" / "index.html").read_text()
    assert "<summary>Shape</summary>" in (tmp_path / "api" / "ops" / "index.html").read_text()
