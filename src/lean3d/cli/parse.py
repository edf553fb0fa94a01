"""Parse flags into a dataclass."""

import contextlib
import difflib
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, NoReturn, TypeVar

import tyro

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
    try:
        with contextlib.redirect_stderr(printed), _events(kind, default, refuse):
            return tyro.cli(kind, prog=f"lean3d {command}", args=argv, config=config, **more)
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


def flags(settings: Any) -> list[str]:
    """Return the flags of a dataclass, or of one of its values, and of the dataclasses in it.

    A field that is true or false has two, such as --sections and --no-sections.
    """
    names = []
    for field in fields(settings):
        inner = getattr(settings, field.name, field.type)
        inside = is_dataclass(inner) or is_dataclass(field.type)
        part = inner if is_dataclass(inner) else field.type
        name = field.name.replace("_", "-")
        switch = [f"--no-{name}"] if field.type is bool else []
        names += flags(part) if inside else [f"--{name}", *switch]
    return names
