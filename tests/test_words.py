"""Docstrings and comments use the field's standard terms."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# pattern -> the plain term to use instead
PLAIN = {
    "anew": "again, re-initialised, restarts",
    "answer(s|ed|ing)?": "output",
    "by turns": "alternating",
    "cross (back|over)|crosses|crossed": "restore depth for child modules",
    "culprit": "first mismatch",
    "dealt out": "distributed over",
    "(depth|it) is laid|laying depth": "merge depth into height, into the batch",
    "every so many": "subsampling factor",
    "folded|folding": "depth-merged, merging depth; batch norms are fused",
    "foreign": "the user's",
    "lift(s|ed|ing)?": "2D-to-3D conversion",
    "looks? (ahead|at the past)": "non-causal, causal",
    "meanings?": "3D rule",
    "mean what|means? (what|the same)": "3D rule, work as",
    "prov(e|es|en|ed|ing)": "check, self-check",
    "put in front": "prepend",
    "saw": "use, receive, run on",
    "see (both|each|one|the|volumes|slices|all|past)|sees": "use, receive, read",
    "side by side in memory": "contiguous in memory",
    "so many(-th)?": "this many, subsampling factor",
    "speaks?": "assumes 4-D input",
    "stands? (for|in|where|before|between|after)": "replaces; is",
    "still video": "static video",
    "tells? (all|apart|from|nothing)": "distinguish, separate",
    "told (apart|from)": "distinguished",
    "waits? for (the )?frames|network(s)? that waits?": "delayed network",
    "will (not )?do|would do": "is enough, is accepted",
}


def prose(source: str) -> Iterator[tuple[int, str]]:
    """Yield the first line and the text of every docstring and comment."""
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        for part in body if isinstance(body, list) else []:
            match part:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    yield part.lineno, " ".join(text.split())
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def messages(source: str) -> Iterator[tuple[int, str]]:
    """Yield the first line and the text of every sentence in the code: errors and what is shown."""
    tree = ast.parse(source)
    told = {text for _, text in prose(source)}
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if (
                " " in text and " ".join(text.split()) not in told
            ):
                yield node.lineno, " ".join(text.split())


def found(pattern: str, text: str) -> bool:
    return re.search(rf"\b({pattern})\b", text, re.IGNORECASE) is not None


@cache
def lines() -> list[tuple[str, str]]:
    paths = sorted((ROOT / "src/lean3d").rglob("*.py"))
    return [
        (f"{path.relative_to(ROOT)}:{line}", text)
        for path in paths
        for line, text in prose(path.read_text())
    ]


@pytest.mark.parametrize("pattern", PLAIN)
def test_docstrings_and_comments_use_plain_terms(pattern):
    places = [place for place, text in lines() if found(pattern, text)]
    assert not places, f"use instead of {pattern!r}: {PLAIN[pattern]}"


@cache
def sentences() -> list[tuple[str, str]]:
    paths = sorted((ROOT / "src/lean3d").rglob("*.py"))
    return [
        (f"{path.relative_to(ROOT)}:{line}", text)
        for path in paths
        for line, text in messages(path.read_text())
    ]


@pytest.mark.parametrize("pattern", sorted(PLAIN.keys() - {"looks? (ahead|at the past)"}))
def test_messages_use_plain_terms(pattern):
    """A layer that looks ahead is called so: the refusal of a stream is searched for by it."""
    places = [place for place, text in sentences() if found(pattern, text)]
    assert not places, f"use instead of {pattern!r}: {PLAIN[pattern]}"


def test_finds_words_in_docstrings_and_comments_alone():
    source = (
        'def f():\n    """It draws\n    anew."""\n    x = "anew"  # it speaks 2D\n    return x\n'
    )
    texts = [text for _, text in prose(source)]
    assert texts == ["It draws anew.", "# it speaks 2D"]
    assert found("anew", texts[0])
    assert found("speaks?", texts[1])
    assert not found("anew", texts[1])
