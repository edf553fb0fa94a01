"""Run a function on every block of a volume, in processes, and remember which are done.

A block's mark is written after its result, so a job that was killed goes on with the blocks that
have none. Any executor of concurrent.futures serves: processes of this machine, or those of a
cluster through `lean3d.infer.dask_executor`.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    as_completed,
)
from contextlib import contextmanager
from pathlib import Path

import torch

from lean3d.errors import LeanError, RunError
from lean3d.infer.grid import Block

__all__ = ["processes", "run_blocks"]

Job = Callable[[Block], None]


def run_blocks(
    job: Job,
    blocks: Sequence[Block],
    done: Path,
    *,
    executor: Executor | None = None,
    say: Callable[[int, int], None] | None = None,
) -> None:
    """Call `job` with every block that is not marked, and mark it.

    Args:
        job: Writes the result of a block; can be pickled. Blocks may come in any order.
        done: Folder of the marks; made if it does not exist.
        executor: Runs the jobs; this process does by default.
        say: Called with the number of blocks done and of all.

    Raises:
        RunError: a block could not be computed, or written.
    """
    done.mkdir(parents=True, exist_ok=True)
    marked = {path.name for path in done.iterdir()}
    left = [block for block in blocks if str(block.index) not in marked]
    if executor is None:
        finished: Iterable[int] = (_marked(job, block, done) for block in left)
    else:
        finished = _finished([executor.submit(_marked, job, block, done) for block in left])
    for count, _ in enumerate(finished, start=len(blocks) - len(left) + 1):
        if say is not None:
            say(count, len(blocks))


def _marked(job: Job, block: Block, done: Path) -> int:
    try:
        job(block)
        (done / str(block.index)).touch()
        return block.index
    except LeanError:
        raise
    except OSError as error:
        why = error.strerror or str(error)
        raise RunError(
            f"cannot write block {block.index} in {done.parent}: {why}; mend that and run the same "
            "command again, it goes on from there"
        ) from error


def _finished(futures: list[Future]) -> Iterator[int]:
    try:
        yield from (future.result() for future in as_completed(futures))
    except BrokenExecutor as error:
        raise RunError(
            "a worker ended in the middle of a block, as when memory is full; run the same command "
            "again with fewer workers, it goes on from there (a script that starts workers does it "
            'under `if __name__ == "__main__":`)'
        ) from error
    finally:
        for future in futures:
            future.cancel()


@contextmanager
def processes(workers: int, executor: Executor | None = None) -> Iterator[Executor | None]:
    """Yield the executor, or one of this many processes; None for one worker."""
    if executor is not None or workers == 1:
        yield executor
        return
    if workers < 1:
        raise RunError(f"blocks need 1 worker or more, got {workers}")
    # spawned: a fork of a process with threads may wait for ever
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin)
    try:
        yield pool
    except BaseException:
        # a stop does not wait for blocks at work: they are computed again
        for process in list((pool._processes or {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Use one core, as the processes beside it do, and end with the process that started it."""
    torch.set_num_threads(1)
    # one that is killed cannot tell its workers, which would wait for work for ever
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
