"""Start the processes of a run on this machine, or join those that torchrun or srun started."""

import os
import pickle
import re
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from lean3d.errors import LeanError, RunError
from lean3d.optional import require
from lean3d.processes.agree import portable
from lean3d.processes.places import ALONE, Place, place, placed
from lean3d.signals import stoppable

__all__ = ["joined", "reports", "started", "to_start"]

# what torchrun sets for every process
TORCHRUN = "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"
# process 0 may prepare the data of all for hours while the others wait
TIMEOUT = timedelta(days=1)
# a fork would share the threads and the GPUs of this process
METHOD = "spawn"
# seconds that the others get to end by themselves after one failed, and then after SIGTERM
PATIENCE = 30.0
LOST = re.compile(r"gloo|nccl|connection (closed|reset|was)|broken pipe|peer", re.IGNORECASE)


class LostError(RunError):
    """Another process of the run ended; its own error is the reason."""


def find_place(devices: int | None, nodes: int | None) -> Place | None:
    """Return the place that torchrun or srun gave to this process; None if neither did.

    srun's tasks are taken for processes of one run only where more than one is asked for.

    Raises:
        RunError: they started another number of processes than is asked for.
    """
    for name, value in (("devices", devices), ("nodes", nodes)):
        if value is not None and value < 1:
            raise RunError(f"--{name} is 1 or more, got {value}")
    if place().size > 1:
        return place()
    if all(name in os.environ for name in TORCHRUN):
        rank, size, local, here = (int(os.environ[name]) for name in TORCHRUN[:4])
        return _checked("torchrun", Place(rank, size, local, here), devices, nodes)
    if (devices or 1) * (nodes or 1) > 1 and int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        size = int(os.environ["SLURM_STEP_NUM_TASKS"])
        machines = int(os.environ.get("SLURM_STEP_NUM_NODES", 1))
        rank, local = (int(os.environ[f"SLURM_{name}ID"]) for name in ("PROC", "LOCAL"))
        found = Place(rank, size, local, size // machines)
        return _checked("srun", found, devices, nodes or 1)
    return None


def reports(devices: int | None, nodes: int | None) -> bool:
    """Whether this process says the results of all: the first one of those started together."""
    return (find_place(devices, nodes) or ALONE).first


def to_start(devices: int | None, nodes: int | None) -> bool:
    """Whether this process has to start those that are asked for.

    Raises:
        RunError: they are on several machines, where no launcher started them.
    """
    if find_place(devices, nodes) is not None or (devices or 1) * (nodes or 1) == 1:
        return False
    if (nodes or 1) > 1:
        raise RunError(
            f"--nodes {nodes} needs a launcher that starts the command on every machine: torchrun, "
            "or srun (docs/training.md has an example of each)"
        )
    return True


@contextmanager
def joined(devices: int | None = None, nodes: int | None = None) -> Iterator[Place]:
    """Meet the other processes; yield the place of this one. A single one meets nobody.

    Raises:
        RunError: another process has ended.
    """
    found = find_place(devices, nodes) or ALONE
    if found.size == 1 or place().size > 1:
        yield place()
        return
    with _group(found, _address()):
        yield found


def started(
    function: Callable[..., Any],
    given: tuple[Any, ...],
    settings: Mapping[str, Any],
    devices: int | None,
) -> Any:
    """Call a function in new processes that are joined, and return the result of the first one.

    Args:
        function: Of a module, as are all that it is given: they are sent to the processes.
        devices: Processes.

    Raises:
        RunError: a process was killed. The error of a process is raised here.
    """
    size = devices or 1
    with tempfile.TemporaryDirectory(prefix="lean3d-") as folder:
        call = (size, folder, function, given, dict(settings))
        with _quiet():
            context: Any = torch.multiprocessing.start_processes(
                _process, call, nprocs=size, join=False, start_method=METHOD
            )
        try:
            _watch(context.processes)
        finally:
            _end(context.processes)
        return _outcome(Path(folder), context.processes)


@contextmanager
def _quiet() -> Iterator[None]:
    """Processes that are started inside are not told of a cost that is wanted (see train.many)."""
    name = "TORCH_CPP_LOG_LEVEL"
    set_here = name not in os.environ
    os.environ.setdefault(name, "ERROR")
    try:
        yield
    finally:
        if set_here:
            del os.environ[name]


def _watch(processes: list[Any]) -> None:
    """Wait until all have ended, or one has failed and the others had time to end."""
    running, until = list(processes), None
    while running:
        left = None if until is None else max(until - time.monotonic(), 0)
        ready = wait([one.sentinel for one in running], timeout=left)
        if not ready:
            return
        running = [one for one in running if one.sentinel not in ready]
        if until is None and any(one.exitcode for one in processes if one not in running):
            until = time.monotonic() + PATIENCE


def _end(processes: list[Any]) -> None:
    for act in (lambda one: one.terminate(), lambda one: one.kill()):
        for one in filter(lambda one: one.is_alive(), processes):
            act(one)
        until = time.monotonic() + PATIENCE
        for one in processes:
            one.join(max(until - time.monotonic(), 0))


def _outcome(folder: Path, processes: list[Any]) -> Any:
    found = [_read(folder / str(local)) for local in range(len(processes))]
    errors = [error for _, error in filter(None, found) if error is not None]
    # that a process was lost is no reason where another one says why it ended
    for error in sorted(errors, key=lambda one: isinstance(one, LostError)):
        if not isinstance(error, LostError):
            raise error
    for local, process in enumerate(processes):
        if found[local] is None and process.exitcode:
            how = f"ended with exit code {process.exitcode}"
            if process.exitcode < 0:
                how = f"was killed by {signal.Signals(-process.exitcode).name}"
            hint = ", most likely for want of memory" if process.exitcode == -9 else ""
            raise RunError(
                f"process {local} of {len(processes)} {how}{hint}; run the command again"
            )
    if errors:
        raise errors[0]
    assert found[0] is not None
    return found[0][0]


def _read(path: Path) -> Any:
    return pickle.loads(path.read_bytes()) if path.exists() else None


def _process(
    rank: int,
    size: int,
    folder: str,
    function: Callable[..., Any],
    given: tuple[Any, ...],
    settings: dict[str, Any],
) -> None:
    """One of the processes."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // size))
    warnings.simplefilter("ignore")
    result, failed = None, None
    with stoppable():
        try:
            with _group(Place(rank, size, rank, size), f"file://{folder}/meeting"):
                result = function(*given, **settings)
        except Exception as error:
            failed = portable(error)
        path = Path(folder) / str(rank)
        written = path.with_suffix(".part")
        written.write_bytes(pickle.dumps((None if rank else result, failed)))
        written.rename(path)
    if failed is not None:
        raise SystemExit(2)


@contextmanager
def _group(own: Place, address: str) -> Iterator[None]:
    gpus = torch.cuda.is_available() and dist.is_nccl_available()
    more: dict[str, Any] = dict(rank=own.rank, world_size=own.size, timeout=TIMEOUT)
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", address, **more)
    except (RuntimeError, ValueError) as error:
        why = str(error).partition("\n")[0]
        raise RunError(f"process {own.rank} of {own.size} cannot meet the others: {why}") from error
    try:
        with placed(own):
            yield
    except RuntimeError as error:
        if isinstance(error, LeanError) or not LOST.search(str(error)):
            raise
        raise LostError(
            f"another of the {own.size} processes of this run has ended; its own message says why"
        ) from error
    finally:
        dist.destroy_process_group()


def _address() -> str:
    """Return where processes meet that a launcher started."""
    if "MASTER_ADDR" not in os.environ:
        environments = require("lightning.fabric.plugins.environments", extra="train")
        slurm = environments.SLURMEnvironment()
        os.environ["MASTER_ADDR"] = slurm.main_address
        os.environ["MASTER_PORT"] = str(slurm.main_port)
    return "env://"


def _checked(who: str, found: Place, devices: int | None, nodes: int | None) -> Place:
    if found.nodes * found.here != found.size:
        raise RunError(f"{who} started {found.size} processes, not the same number on each machine")
    asked = (found.here if devices is None else devices, found.nodes if nodes is None else nodes)
    if asked != (found.here, found.nodes):
        raise RunError(
            f"{who} started {found.here} processes on each of {found.nodes} machines; --devices "
            f"{asked[0]} --nodes {asked[1]} ask for others"
        )
    return found
