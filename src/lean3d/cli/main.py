"""Find the subcommand, run it, turn errors into one sentence and exit code 2."""

import codecs
import difflib
import importlib
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import lean3d
from lean3d.cli.sentence import escaped, sentence
from lean3d.errors import RunError
from lean3d.optional import require
from lean3d.signals import Stopped, stoppable

__all__ = ["ASKED", "main"]

# whether the line of JSON is printed in a terminal too: lean3d --json COMMAND ...
ASKED: ContextVar[bool] = ContextVar("ASKED", default=False)

# maximum characters of an argument: more than any path has
LONGEST = 16_384

# name -> description; lean3d/cli/<name>.py has `main(arguments)`, imported only when needed
COMMANDS = {
    "train": "train a recipe in a run folder, or resume it",
    "evaluate": "score a run case by case, alone or against another, with a report",
    "probe": "classify by features as they are, by a logistic regression",
    "predict": "segment an image with a trained run",
    "explain": "show where the network of a run looks in a video or a volume",
    "segment": "segment neurons in a volume of any size with a run of affinities",
    "view": "look at a segmentation and its volume in neuroglancer",
    "stream": "name what happens in a video, frame by frame, while it runs",
    "index": "a gallery of known persons or faces, one vector a video",
    "search": "who is in a video: the nearest of a gallery, also while it runs",
    "convert": "turn a 2D model into 3D, and show how that was checked",
    "models": "networks that can be named, what they are, where they come from",
    "count": "parameters, multiply-adds and bytes of a model",
    "export": "a network, or the step of a stream, as a file for other runtimes",
    "lighten": "a run whose network takes a time you name, by lean convolutions",
    "optimize": "the fastest equal network on this machine, found by measuring",
    "share": "a run to give away, with a card; to the Hugging Face Hub",
    "bench": "two models timed side by side, and where their time goes",
    "load": "what a file of published weights is, and the network it belongs to",
    "demo": "train, convert, compare and predict on a real brain in a few minutes",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `lean3d` with these arguments and return its exit code.

    Every error is one sentence on stderr; LEAN3D_DEBUG=1 adds the traceback.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    asked = ASKED.set(arguments[:1] == ["--json"])
    try:
        _prepare_stdout()
        _check_text(arguments)
        try:
            with _quiet_libraries():
                return _dispatch(arguments)
        finally:
            # here, so that a full disk or a closed pipe is reported
            _flush_stdout()
    except Stopped as stopped:
        print(f"lean3d: {stopped}", file=sys.stderr)
        return 128 + stopped.number
    except Exception as error:  # last resort
        if getattr(error, "elsewhere", False):
            return 2  # another of the processes started together says it
        if os.environ.get("LEAN3D_DEBUG", "0") not in ("", "0"):
            traceback.print_exc()
        print(sentence(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("lean3d: interrupted", file=sys.stderr)
        return 130
    finally:
        ASKED.reset(asked)


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Silence messages of other packages that are for programmers, and what was said before."""
    log, own, once = logging.getLogger("nibabel.global"), logging.getLogger("lean3d"), _Once()
    was, log.disabled = log.disabled, True
    own.addFilter(once)
    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
        try:
            yield
        finally:
            log.disabled = was
            own.removeFilter(once)


class _Once(logging.Filter):
    """Lets a sentence about a file pass once, however often the command opens the file."""

    def __init__(self) -> None:
        super().__init__()
        self.said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        new = text not in self.said
        self.said.add(text)
        return new


def _check_text(arguments: list[str]) -> None:
    """Refuse bytes that are not text: tables and JSON could not hold such a name."""
    for argument in arguments:
        if len(argument) > LONGEST:
            raise RunError(
                f"an argument has {len(argument):,} characters, at most {LONGEST:,}: "
                f"{escaped(argument[:60])} ..."
            )
        if not _is_text(argument):
            raise RunError(f"the argument '{escaped(argument)}' is not UTF-8; rename the file")


def _check_given(command: str, arguments: list[str]) -> None:
    """Refuse empty arguments: an empty path would be the current folder."""
    for place, argument in enumerate(arguments):
        flag, assigned, value = argument.partition("=")
        if flag.startswith("--") and assigned and not value:
            raise RunError(f"{command}: {flag} is empty; give a value, or leave it out")
        if not argument.strip():
            before = arguments[place - 1] if place else ""
            what = (
                f"{before} is empty"
                if before.startswith("--")
                else f"argument {place + 1} is empty"
            )
            raise RunError(f"{command}: {what} ({argument!r}); give a value, or leave it out")


def _is_text(argument: str) -> bool:
    try:
        return "\0" not in argument and bool(argument.encode("utf-8") or True)
    except UnicodeEncodeError:
        return False


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Return characters that stdout cannot encode as JSON escapes."""
    assert isinstance(error, UnicodeEncodeError)
    pairs = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    units = zip(pairs[::2], pairs[1::2], strict=True)
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in units), error.end


codecs.register_error("lean3d.escape", _escape)


def _prepare_stdout() -> None:
    """Print names found in folders, and tables, in any encoding of the terminal."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="lean3d.escape")


def _flush_stdout() -> None:
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        # drop the unwritten rest, or the interpreter would complain of it again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise RunError(f"cannot write to stdout: {error.strerror or error}") from error


@stoppable()
def _dispatch(arguments: list[str]) -> int:
    name, *rest = arguments[ASKED.get() :] or ["--help"]
    if name in ("-h", "--help"):
        print(_help())
    elif name == "--version":
        print(f"lean3d {lean3d.__version__}")
    elif name == "--completion":
        print(importlib.import_module("lean3d.cli.completion").completion(), end="")
    elif name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
        raise RunError(f"no command called {name!r}; {hint}")
    else:
        _check_given(name, rest)
        require("tyro", extra="cli")
        importlib.import_module(f"lean3d.cli.{name}").main(rest)
    return 0


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {what}" for name, what in COMMANDS.items()]
    usage = ["usage: lean3d [--json] COMMAND ...", "", lean3d.__doc__ or "", "", *lines, ""]
    more = [
        "lean3d COMMAND --help says more; lean3d --version is the version.",
        "The last line is JSON in a pipe or a file, and in a terminal with --json.",
        "lean3d --completion is a script that completes flags in bash and zsh.",
    ]
    return "\n".join([*usage, *more])
