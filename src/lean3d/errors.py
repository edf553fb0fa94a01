"""Errors that users can act on: who raised it, what was expected, what was got, what to do."""

import re

__all__ = [
    "LONGEST",
    "ConversionError",
    "DataError",
    "LeanError",
    "MissingExtraError",
    "RunError",
    "ShapeError",
    "clipped",
    "without_passwords",
]

# maximum characters of a sentence; a longer one quotes something long in its middle
LONGEST = 400
TAIL = 110
# rtsp://user:password@host, also with one slash or none, as a path or a typing error leaves it
SCHEME = r"[A-Za-z][\w+.-]{1,20}:"
LOGIN = re.compile(
    rf"(?<![\w+.-])({SCHEME}[/\\]{{1,3}})(?:[^\s/@:]*:[^\n/]*|\S*)@"
    rf"|(?<![\w+./\\-])((?:{SCHEME})?)[^\s:/@'\"]+:[^\s@'\"]+@(?=[\w\[])"
)
# ...?token=...
SECRET = re.compile(r"(?i)([?&;](?:pass\w*|pwd|token|secret|\w*key|auth|sig\w*)=)[^&;\s'\"]+")


def without_passwords(text: str) -> str:
    """Return text in which the logins and keys of network addresses are stars."""
    return SECRET.sub(r"\1***", LOGIN.sub(lambda found: f"{found[1] or found[2] or ''}***@", text))


def clipped(text: str, room: int = LONGEST) -> str:
    """Cut the middle, because the remedy is at the end."""
    return text if len(text) <= room else f"{text[: room - TAIL - 5]} ... {text[-TAIL:]}"


class LeanError(ValueError):
    """An input of the user cannot be used. The command line prints it and exits with code 2.

    Its text has at most `LONGEST` characters and no passwords, whatever it quotes.
    """

    def __init__(self, *args: object):
        super().__init__(*(_said(arg) if isinstance(arg, str) else arg for arg in args))


def _said(text: str) -> str:
    # a DataLoader makes its worker's error again, with the traceback as its text
    return text if "Original Traceback" in text else clipped(without_passwords(text))


class ShapeError(LeanError):
    """A tensor has the wrong axes for the module that received it."""


class ConversionError(LeanError):
    """A module cannot be converted without changing what it computes."""


class DataError(LeanError):
    """A file or folder does not hold the expected data."""


class RunError(LeanError):
    """A recipe, run folder or setting cannot be used."""


class MissingExtraError(LeanError, ImportError):
    """A feature needs a package that is not installed."""
