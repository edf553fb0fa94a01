"""Call a function in a separate process, which ends with this one, however that ends."""

import os
import sys
import threading
from collections.abc import Callable
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from lean3d.errors import LeanError, RunError

__all__ = ["in_own_process"]

Result = TypeVar("Result")


def in_own_process(what: str, function: Callable[..., Result], *arguments: Any) -> Result:
    """Return the result of `function` in a new process, or raise its error.

    Args:
        what: Purpose of the process, for error messages.

    Raises:
        RunError: the process was killed.
    """
    # a fork has imported everything already; it is not safe on systems other than Linux
    context: Any = get_context("fork" if sys.platform == "linux" else "spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sender, function, arguments))
    process.start()
    sender.close()
    try:
        error, answer = receiver.recv()
        process.join()
    except BaseException as raised:
        process.terminate()
        process.join()
        if isinstance(raised, EOFError):
            raise RunError(
                f"the process for {what} was killed (exit code {process.exitcode}), perhaps for "
                "lack of memory; go on with --resume"
            ) from None
        raise
    finally:
        receiver.close()
    if error is not None:
        raise error
    return answer


def _work(sender: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    message: tuple[Exception | None, Any]
    try:
        message = None, function(*arguments)
    except (LeanError, OSError) as error:
        message = error, None
    except Exception as error:
        # an error that may not be picklable
        message = RuntimeError(f"{type(error).__name__}: {error}"), None
    sender.send(message)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        # immediately, as the parent was killed
        os._exit(1)
