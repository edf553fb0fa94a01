"""Parse flags into a dataclass."""

import contextlib
import difflib
import io
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import Field, fields, is_dataclass
from typing import Any, NoReturn, TypeVar, get_args

import tyro

from lean3d.cli.show import width
from lean3d.errors import RunError

__all__ = ["flags", "parse"]

Arguments = TypeVar("Arguments")


def parse(
    kind: type[Arguments], command: str, argv: list[str], default: Arguments | None = None
) -> Arguments:
    """Read `argv` into `kind`.

    Raises:
        RunError: a flag is unknown or missing, or its value cannot be read.
    """
    config = (tyro.conf.OmitArgPrefixes,)
    more: Any = {} if default is None else {"default": default}

    def refuse(why: str) -> NoReturn:
        raise RunError(f"{why.rstrip('.')}; see lean3d {command} --help")

    printed = io.StringIO()
    asked = _wrapped_usage() if {"-h", "--help"} & set(argv) else contextlib.nullcontext()
    try:
        with asked, contextlib.redirect_stderr(printed), _events(kind, default, refuse):
            args = _with_none(kind if default is None else default, argv)
            return tyro.cli(kind, prog=f"lean3d {command}", args=args, config=config, **more)
    except SystemExit as stopped:
        if stopped.code != 2:
            sys.stderr.write(printed.getvalue())
            raise
        # an error of another tyro: its text without the frame around it
        refuse(
            " ".join(
                re.sub(r"\x1b\[\d*m|[^\x20-\x7e]|[-+]{3,}|[|]", " ", printed.getvalue()).split()
            )
        )


@contextlib.contextmanager
def _wrapped_usage() -> Iterator[None]:
    """Wrap the first line of the help, which the parser does not, between flags."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            yield
    finally:
        usage, *rest = printed.getvalue().split("\n", 1)
        whole = re.sub(r"\[.*?\]", lambda flag: flag[0].replace(" ", "\0"), usage)
        options: Any = dict(break_on_hyphens=False, break_long_words=False)
        lines = textwrap.wrap(whole, width(), subsequent_indent=" " * len("usage: "), **options)
        print("\n".join([*lines, *rest]).replace("\0", " "), end="")


@contextlib.contextmanager
def _events(kind: Any, default: Any, refuse: Any) -> Iterator[None]:
    """Turn the parser's events into sentences, where this tyro has them."""
    try:
        from tyro import _errors as errors
    except ImportError:
        yield
        return

    def hook(event: Any) -> None:
        match event:
            case errors.MissingArgs():
                refuse(f"required: {', '.join(_flag(m.arg) for m in event.missing_arguments)}")
            case errors.UnrecognizedArgs():
                unknown = [token for token in event.tokens if token.startswith("-")]
                near = difflib.get_close_matches((unknown or [""])[0], flags(default or kind), n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                refuse(f"unrecognized options: {', '.join(event.tokens)}{hint}")
            case errors.InvalidChoice():
                choices = ", ".join(event.choices)
                refuse(f"{_name(event.argument)} is one of {choices}, got {event.value!r}")
            case errors.InstantiationFailure():
                where = _name(event.argument) if event.argument else "the arguments"
                refuse(_unfit(event) or f"{where}: {event.message}")
            case errors.BadValue():
                refuse(f"{_name(event.argument)} needs a value")

    with errors.on_parse_error(hook):
        yield


def _unfit(event: Any) -> str | None:
    """Say what an optional value is, where the parser lists all it tried."""
    found = re.match(r"no type matching .* could be instantiated from \[(.*?)\]\.", event.message)
    if found is None or not event.argument:
        return None
    kind = event.argument.lowered.metavar.removeprefix("{None}|").removesuffix("|{None}")
    return f"{_name(event.argument)} is {kind.strip('{}')}, got {found[1]}"


def _name(argument: Any) -> str:
    return (
        argument.lowered.metavar if argument.is_positional() else argument.lowered.name_or_flags[-1]
    )


def _flag(argument: Any) -> str:
    name = _name(argument)
    return name if argument.is_positional() else f"{name} {argument.lowered.metavar}"


def _with_none(settings: Any, argv: list[str]) -> list[str]:
    """Return the arguments with None where an option that may be None is given `none`."""
    may = {f"--{field.name.replace('_', '-')}" for field in _fields(settings) if _optional(field)}
    before = ["", *argv]
    return [
        "None" if value == "none" and flag.replace("_", "-") in may else value
        for flag, value in zip(before, argv, strict=False)
    ]


def _optional(field: Field[Any]) -> bool:
    kinds = get_args(field.type)
    return type(None) in kinds and not any("none" in get_args(kind) for kind in kinds)


def _fields(settings: Any) -> Iterator[Field[Any]]:
    """Yield the fields of a dataclass, or of one of its values, and those of dataclasses in it."""
    for field in fields(settings):
        inner = getattr(settings, field.name, field.type)
        part = inner if is_dataclass(inner) else field.type
        if is_dataclass(part):
            yield from _fields(part)
        else:
            yield field


def flags(settings: Any) -> list[str]:
    """Return the flags of a dataclass, or of one of its values, and of the dataclasses in it.

    A field that is true or false has two, such as --sections and --no-sections.
    """
    names = []
    for field in _fields(settings):
        name = field.name.replace("_", "-")
        names += [f"--{name}", *([f"--no-{name}"] if field.type is bool else [])]
    return names
