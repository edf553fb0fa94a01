"""The workers of a dask cluster as an executor: of this machine, SLURM, LSF, Kubernetes, ..."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
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
    address = _address(scheduler)
    try:
        # a client that found nobody keeps trying until the process ends
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, _meet(address)).result()
        client = distributed.Client(address, timeout=SCHEDULER, set_as_default=False)
    except Exception as error:
        raise RunError(
            f"there is no dask scheduler at {scheduler[:100]!r} ({_short(error)}); start one with "
            "`dask scheduler`, and give its address, such as tcp://node1:8786, or its file"
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


def _address(scheduler: str) -> str:
    """Return the address, which a scheduler's file holds too."""
    path = Path(scheduler)
    with suppress(OSError):  # an address may be no name of a file
        if not path.is_file():
            return scheduler
    try:
        return str(json.loads(path.read_text())["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{scheduler[:200]} is not what `dask scheduler --scheduler-file` writes; give that "
            "file, or an address such as tcp://node1:8786"
        ) from error


async def _meet(address: str) -> None:
    distributed = require("distributed", extra="cluster")
    arguments = distributed.Security().get_connection_args("client")
    comm = await distributed.comm.connect(address, timeout=SCHEDULER, **arguments)
    await comm.close()


def _short(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:160]
