"""The workers of a dask cluster as an executor: of this machine, SLURM, LSF, Kubernetes, ..."""

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path

from lean3d.errors import RunError
from lean3d.optional import require

__all__ = ["dask_executor"]

# seconds to wait for a scheduler, and for its first worker
SCHEDULER, WORKER = 20, 300


@contextmanager
def dask_executor(scheduler: str) -> Iterator[Executor]:
    """Yield an executor that computes on the workers of a running dask scheduler.

    Args:
        scheduler: Its address, such as tcp://node1:8786, or the file that `dask scheduler
            --scheduler-file` writes.

    Raises:
        RunError: there is no scheduler, or none of its workers comes within five minutes.
    """
    distributed = require("distributed", extra="cluster")
    place = {"scheduler_file": scheduler} if Path(scheduler).is_file() else {"address": scheduler}
    try:
        client = distributed.Client(**place, timeout=SCHEDULER, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise RunError(
            f"there is no dask scheduler at {scheduler} ({_short(error)}); start one with `dask "
            "scheduler`, and give its address or its file"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=WORKER)
        except TimeoutError as error:
            raise RunError(
                f"the dask scheduler at {scheduler} has no worker; start some with `dask worker "
                f"{scheduler}`"
            ) from error
        # impure: a block is computed for what it writes
        yield client.get_executor(pure=False)


def _short(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:160]
