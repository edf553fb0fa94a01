"""Runs inputs in processes that have imported everything, each with 2 GB and 10 s of one core.

    python tests/fuzz/fuzz_server.py TEMPLATE WORK

reads pickled inputs from stdin and writes pickled outcomes to stdout. The server itself runs none
of them: it forks a worker, which takes inputs until one kills it or it has had its share. An input
that breaks the law in a used worker is judged again in a new one.
"""

import io
import os
import pickle
import resource
import select
import shutil
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from fuzz_verdict import FINE, SERVES, SPARE, WALL, Input, Outcome, judge_call, judge_command

SHARE = 100
SERVERS = ("view",)


def load_everything() -> dict:
    """What any command imports, and the names that code can use."""
    import importlib

    import av  # noqa: F401
    import lightning.pytorch  # noqa: F401
    import monai.losses  # noqa: F401
    import nibabel  # noqa: F401
    import numpy as np
    import safetensors.torch
    import torch

    import lean3d
    from lean3d.cli.main import COMMANDS

    for name in COMMANDS:
        importlib.import_module(f"lean3d.cli.{name}")
    for name in "lean3d.recipes.runs", "lean3d.train.fit", "lean3d.data", "lean3d.streaming.export":
        importlib.import_module(name)
    torch.set_num_threads(1)
    names = dict(lean3d=lean3d, torch=torch, nn=torch.nn, np=np, safetensors=safetensors)
    names |= {name: getattr(lean3d.ops, name) for name in lean3d.ops.__all__}
    return names | {name: getattr(lean3d, name) for name in lean3d.__all__}


def seen(folder: Path) -> dict[str, tuple]:
    """Every file and link below a folder, as precisely as it need be to tell a change."""
    found = {}
    for root, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(root, name)
            status = os.lstat(path)
            kept = (status.st_mode,)
            if name not in folders:
                kept += status.st_size, status.st_mtime_ns, status.st_ino
            found[os.path.relpath(path, folder)] = kept
    return found


def lay_out(template: Path, work: Path) -> None:
    """The files every input finds; a device of our own, since a broken law may replace it."""
    os.chdir(template)
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(template, work, symlinks=True)
    if os.getuid() == 0:
        os.mknod(work / "null", 0o666 | 0o020000, os.makedev(1, 3))
    os.chdir(work)


class Worker:
    """A forked process that runs inputs one after the other."""

    def __init__(self, names: dict, template: Path, work: Path):
        down, up = os.pipe(), os.pipe()
        self.pid, self.had = os.fork(), 0
        if self.pid == 0:
            os.close(down[1]), os.close(up[0])
            try:
                _take_inputs(
                    os.fdopen(down[0], "rb"), os.fdopen(up[1], "wb"), names, template, work
                )
            except EOFError:
                pass
            finally:
                os._exit(0)
        os.close(down[0]), os.close(up[1])
        self.give, self.take = os.fdopen(down[1], "wb"), os.fdopen(up[0], "rb")

    def run(self, asked: Input) -> Outcome:
        self.had += 1
        pickle.dump(asked, self.give)
        self.give.flush()
        ready, _, _ = select.select([self.take], [], [], WALL)
        try:
            if ready:
                outcome, self.spent = pickle.load(self.take)
                return outcome
        except EOFError:
            pass
        if not ready:
            os.kill(self.pid, signal.SIGKILL)
        self.spent, status = True, os.waitpid(self.pid, 0)[1]
        self.pid = 0
        killer = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        if not ready or killer in (signal.SIGPROF, signal.SIGXCPU):
            what = f"more than {asked.seconds} s of one core" if ready else f"hung for {WALL} s"
            return Outcome("over time", what, seconds=asked.seconds)
        how = f"signal {killer}" if killer else f"os._exit({os.WEXITSTATUS(status)})"
        return Outcome("crash", f"the process ended by {how}")

    def end(self) -> None:
        self.give.close(), self.take.close()
        if self.pid:
            os.waitpid(self.pid, 0)


def _take_inputs(requests, answers, names: dict, template: Path, work: Path) -> None:
    held = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (held + SPARE,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    lay_out(template, work)
    streams = work.parent / "stdin", work.parent / "stdout", work.parent / "stderr"
    had = 0
    while True:
        asked = pickle.load(requests)
        had += 1
        outcome, clean = _attempt(asked, dict(names), work, streams)
        if not clean:
            lay_out(template, work)
        heavy = asked.argv is not None and asked.argv[:1] in (("train",), ("export",))
        spent = heavy or had >= SHARE or threading.active_count() > 1
        pickle.dump((outcome, spent), answers)
        answers.flush()


def _attempt(asked: Input, names: dict, work: Path, streams) -> tuple[Outcome, bool]:
    before = seen(work)
    try:
        for name, content in asked.files:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_bytes(content)
        exec(asked.setup, names)
    except Exception:
        return Outcome("bad setup", traceback.format_exc()), False
    start = seen(work)
    _redirect(streams, asked.stdin)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, asked.seconds)
    if asked.argv is not None and asked.argv[:1] in ((name,) for name in SERVERS):
        signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
        signal.setitimer(signal.ITIMER_REAL, SERVES)
    began, code, error, at = time.process_time(), 0, None, ""
    try:
        if asked.argv is None:
            exec(compile(asked.code, "<input>", "exec"), names)
        else:
            code = sys.modules["lean3d.cli.main"].main(list(asked.argv)) or 0
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else 1
    except BaseException as raised:  # whatever a broken law lets through
        error, at, code = raised, _where(raised), 1
    seconds = time.process_time() - began
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    sys.stdout.flush(), sys.stderr.flush()
    os.chdir(work)
    end = seen(work)
    changed = sorted(k for k in start.keys() | end.keys() if start.get(k) != end.get(k))
    out, err = (stream.read_text(errors="replace") for stream in streams[1:])
    if asked.argv is None:
        ours = isinstance(error, names["lean3d"].LeanError)
        outcome = judge_call(error, ours, not ours and _as_torch(asked, error, names), changed)
    elif error is not None:
        outcome = Outcome("traceback", f"{type(error).__name__}: {error}", changed=changed)
    else:
        outcome = judge_command(code, out, err, changed, asked.argv)
    outcome.seconds, outcome.where = seconds, at
    outcome.said = outcome.said[:2000]
    return outcome, before == end


def _as_torch(asked: Input, error: BaseException | None, names: dict) -> bool:
    """Whether torch's own module raises the same on the same arguments."""
    if error is None or not asked.torch:
        return False
    try:
        exec(asked.torch, names)
    except Exception as raised:
        return isinstance(error, type(raised)) or isinstance(raised, type(error))
    return False


def _where(error: BaseException) -> str:
    """The last line of lean3d on the way to an exception."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/lean3d/" in frame.filename]
    return f"{ours[-1].filename.rpartition('/lean3d/')[2]}:{ours[-1].lineno}" if ours else ""


def _redirect(streams, stdin: bytes) -> None:
    streams[0].write_bytes(stdin)
    flags = (
        os.O_RDONLY,
        os.O_CREAT | os.O_TRUNC | os.O_WRONLY,
        os.O_CREAT | os.O_TRUNC | os.O_WRONLY,
    )
    for handle, (path, flag) in enumerate(zip(streams, flags, strict=True)):
        opened = os.open(path, flag)
        os.dup2(opened, handle)
        os.close(opened)
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)))
    sys.stdout = _text(1, "strict")
    sys.stderr = _text(2, "backslashreplace")


def _text(handle: int, errors: str) -> io.TextIOWrapper:
    """As Python itself opens it on a machine whose language is written in UTF-8."""
    raw = io.BufferedWriter(io.FileIO(handle, "w", closefd=False))
    return io.TextIOWrapper(raw, "utf-8", errors, line_buffering=True)


def make_template(template: Path) -> None:
    """In a process of its own, so that the server stays as it was imported."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            from fuzz_files import write_files

            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            template.mkdir(parents=True)
            os.chdir(template)
            write_files()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError("the files that inputs meet could not be made")


def serve(template: Path, work: Path) -> None:
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    names = load_everything()
    make_template(template)
    worker = None
    while True:
        try:
            asked = pickle.load(requests)
        except EOFError:
            break
        worker = worker or Worker(names, template, work)
        outcome = worker.run(asked)
        if outcome.kind not in FINE and worker.had > 1:
            worker.end()
            worker = Worker(names, template, work)
            outcome = worker.run(asked)
        if worker.spent or outcome.kind not in FINE:
            worker.end()
            worker = None
        pickle.dump(outcome, answers)
        answers.flush()
    if worker is not None:
        worker.end()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]))
