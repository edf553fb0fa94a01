"""Describe any error in one sentence, without secrets and other programs' internals."""

import re

from lean3d.errors import LONGEST, LeanError, clipped, without_passwords
from lean3d.limits import out_of_memory

__all__ = ["escaped", "sentence"]

PREFIX = "lean3d: "
# maximum characters read of an error's text; patterns are slow on very long text
READ = 20_000

# a DataLoader replaces the message by the traceback of its worker
WORKER = re.compile(r"^(?:[A-Za-z_]\w*\.)*([A-Za-z_]\w*)(?:: (.*))?\Z", re.MULTILINE | re.DOTALL)
KILLED = re.compile(r"DataLoader worker \(pid.*?\) (?:exited unexpectedly|is killed)")
TOO_LARGE = re.compile(
    r"[Ss]t(?:orage size|ride) calculation overflow|integer multiplication overflow"
    r"|Overflow when unpacking|too large to convert|too big to convert|without overflow"
    r"|Maximum allowed dimension exceeded|array is too big|Exceeds the limit .* integer string"
    r"|numel.*overflow|[Ii]nvalid shape dimension|negative dimension"
)
# texts that torch adds for its own developers
INSIDES = re.compile(
    r"\[enforce fail at [^\]]*\]\s*(?:\S+ == \d+\.\s*)?|\(Triggered internally at [^)]*\)"
    r"|\"?[^\s\"]{0,200}\.(?:cpp|cu|h)\"?:\d+,?|Exception raised from .*|C\+\+ CapturedTraceback.*"
    r"|\s*Traceback \(most recent call last\).*|, please report a bug to PyTorch\.?",
    re.DOTALL,
)
UNSAFE = re.compile(r"weights_only|WeightsUnpickler|add_safe_globals")
ADVICE = re.compile(r"(?i)weights only load failed|weights_only|WeightsUnpickler")
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def sentence(error: BaseException) -> str:
    """Return the error and its remedy, on one line of at most LONGEST characters."""
    name, text, ours = _unwrapped(error)
    if len(text) > READ:
        text = f"{text[: READ // 2]} ... {text[-READ // 2 :]}"
    said = text if ours else _other(error, name, text)
    return PREFIX + clipped(escaped(_plain(said)), LONGEST - len(PREFIX))


def escaped(text: str) -> str:
    """Return text for any terminal: characters that are not printable are escaped."""
    seen = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in seen)


def _unwrapped(error: BaseException) -> tuple[str, str, bool]:
    """Return the class name and text of an error or a worker's error, and whether it is ours."""
    name, text = type(error).__name__, str(error)
    if "Original Traceback" not in text:
        return name, text, isinstance(error, LeanError)
    # the last traceback is that of the error itself, and its frames are indented
    found = WORKER.search(text, text.rindex("Traceback (most recent call last)"))
    name, text = (found[1], found[2] or "") if found else (name, "")
    return name, text, isinstance(error, LeanError)


def _other(error: BaseException, name: str, text: str) -> str:
    """Return a sentence for an unexpected error."""
    if (shortage := out_of_memory(error, text)) is not None:
        return shortage
    if isinstance(error, OverflowError) or TOO_LARGE.search(text):
        return (
            "a number is too large for what it counts, beyond 64 bits or infinite; "
            f"give a smaller one ({_first(text)})"
        )
    if UNSAFE.search(text):
        return text
    if isinstance(error, RecursionError):
        return "the input is nested too deeply to be read; write it with fewer brackets"
    if isinstance(error, UnicodeError):
        return f"text is not what its encoding allows ({_first(text)}); use UTF-8"
    if KILLED.search(text):
        return (
            "a process that prepares samples was killed, most likely for want of memory; "
            "give fewer --workers or smaller samples"
        )
    if isinstance(error, OSError) and error.errno is not None:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or text}"
    what = f"{name}: {_first(text)}" if text else name
    return f"{what}; lean3d did not foresee this: set LEAN3D_DEBUG=1 to see where it happened"


def _first(text: str) -> str:
    """Return the first line that is not empty."""
    lines = [line.strip() for line in INSIDES.sub("", text).splitlines()]
    return next((line for line in lines if line), "no more is known").rstrip(".")


def _plain(text: str) -> str:
    """Remove torch's internals and advice, tracebacks and passwords; return one line."""
    text = ANSI.sub("", text)
    if UNSAFE.search(text):
        # torch's advice is to read the file in a way that runs code in it
        start = ADVICE.split(text)[0].rstrip(" :;,.")
        text = f"{start}{': the' if start else 'a'} file holds more than tensors, or is damaged"
    text = without_passwords(INSIDES.sub("", text))
    return " ".join(text.split())
