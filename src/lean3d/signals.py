"""End a command at a signal as at an error: temporary files are removed, with an exit code."""

import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

__all__ = ["Stopped", "advising", "check_stopped", "stoppable", "uninterrupted"]

# a terminal's Ctrl-C, the signals of schedulers and `kill`, and that of a closed terminal
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)


class Stopped(SystemExit):
    """A signal ended the program; the exit code is 128 and its number, as in shells.

    Attributes:
        advice: How to continue; set by code that catches it on the way out.
    """

    def __init__(self, number: int):
        super().__init__(128 + number)
        self.number = number
        self.advice = "run the command again"

    def __str__(self) -> str:
        return f"stopped by {signal.Signals(self.number).name}; {self.advice}"


class _Received:
    """The received signal, if any, the number of sections that delay it, its handlers, and the
    code of the hook that gets the exceptions of destructors."""

    number: int | None = None
    held = 0
    taken = False
    hook: CodeType | None = None


_received = _Received()


@contextmanager
def stoppable() -> Iterator[None]:
    """Inside, a signal raises `Stopped` in the main thread, once; later signals are ignored.

    Signals that the caller ignores (nohup, a shell's background jobs) stay ignored. Threads other
    than the main one cannot receive signals; nothing changes in them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    hook = sys.unraisablehook
    _received.number, _received.held, _received.taken = None, 0, True

    def again(lost: Any) -> None:
        # Python prints a destructor's exception, and continues
        if isinstance(lost.exc_value, Stopped):
            _later(lost.exc_value.number)
        else:
            hook(lost)

    _received.hook = again.__code__
    try:
        sys.unraisablehook = again
        for number, handler in before.items():
            if handler in DEFAULTS:
                signal.signal(number, _stop)
        yield
    except Stopped:
        raise
    except BaseException:
        # errors caused by the signal, such as those of workers that got it too, are not the reason
        check_stopped()
        raise
    finally:
        _received.number, _received.taken = None, False
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook


@contextmanager
def uninterrupted() -> Iterator[None]:
    """A short section that delays signals, such as naming a file that has just been made."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _received.held += 1
    try:
        yield
    finally:
        _received.held -= 1
        if not _received.held:
            check_stopped()


@contextmanager
def advising(folder: Path, record: str = "") -> Iterator[None]:
    """Add the advice to continue by --resume to a stop in a folder, once it has a record."""
    try:
        yield
    except Stopped as stopped:
        if (folder / record).exists():
            where = shlex.quote(str(folder))
            stopped.advice = f"go on in {where} with the same command and --resume"
        raise


def check_stopped() -> None:
    """Raise `Stopped` if a signal has come, in case the exception was lost in a destructor.

    Raises:
        Stopped: a signal has come.
    """
    if _received.number is not None:
        raise Stopped(_received.number)


def _stop(number: int, frame: FrameType | None) -> None:
    if _received.number is None:
        _received.number = number
        if not _received.held:
            if _in_hook(frame):
                _later(number)
            else:
                raise Stopped(number)


def _in_hook(frame: FrameType | None) -> bool:
    """Whether a destructor's exception is being reported, where another one would be lost too."""
    while frame is not None and frame.f_code is not _received.hook:
        frame = frame.f_back
    return frame is not None


def _later(number: int) -> None:
    threading.Timer(0.01, _send_again, (number,)).start()


def _send_again(number: int) -> None:
    """A signal whose exception was lost in a destructor."""
    if _received.taken:
        _received.number = None
        os.kill(os.getpid(), number)


def _forget() -> None:
    _received.number, _received.held = None, 0


_register: Callable[..., None] | None = getattr(os, "register_at_fork", None)
if _register is not None:
    _register(after_in_child=_forget)
