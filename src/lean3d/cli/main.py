"""Find the subcommand, run it, turn errors into one sentence and exit code 2."""

import difflib
import importlib
import sys
from collections.abc import Sequence

import lean3d
from lean3d.errors import LeanError, RunError
from lean3d.optional import require

__all__ = ["main"]

# name -> what it does; lean3d/cli/<name>.py has `main(arguments)`, imported only when asked for
COMMANDS = {
    "train": "train a recipe in a run folder, or resume it",
    "predict": "segment an image with a trained run",
    "stream": "name what happens in a video, frame by frame, while it runs",
    "convert": "turn a 2D model into 3D, and show how that was proven",
    "models": "the networks that can be named, what they are and where they come from",
    "count": "parameters, multiply-adds and bytes of a model",
    "export": "the step of a stream as a file for other runtimes, its state outside it",
    "bench": "two models timed side by side, and where their time goes",
    "load": "what a file of published weights is, and the network it belongs to",
    "demo": "train, convert, compare and predict on a real brain in a few minutes",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `lean3d` with these arguments and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(arguments)
    except LeanError as error:
        print(f"lean3d: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except OSError as error:
        # a disk that is full or gone, wherever a library meets it first
        where = f"{error.filename}: " if error.filename else ""
        print(f"lean3d: {where}{error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("lean3d: interrupted", file=sys.stderr)
        return 130


def _dispatch(arguments: list[str]) -> int:
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help"):
        print(_help())
    elif name == "--version":
        print(f"lean3d {lean3d.__version__}")
    elif name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
        raise RunError(f"no command called {name!r}; {hint}")
    else:
        require("tyro", extra="cli")
        importlib.import_module(f"lean3d.cli.{name}").main(rest)
    return 0


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {what}" for name, what in COMMANDS.items()]
    usage = ["usage: lean3d COMMAND ...", "", lean3d.__doc__ or "", "", *lines, ""]
    return "\n".join([*usage, "lean3d COMMAND --help says more; lean3d --version is the version."])
