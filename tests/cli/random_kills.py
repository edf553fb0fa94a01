"""Commands that run in forks of one process, which has imported everything, and are killed there.

So a moment is one of the work, not of three seconds of imports.
"""

import contextlib
import os
import time
from dataclasses import replace
from multiprocessing import get_context

FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(["lean3d.cli.main", "random_kills", "lean3d.recipes.runs", "monai"])


def run(argv, said, tiny_demo=False):
    """In a fork: the command line with its streams in a file."""
    from lean3d.cli.main import main

    with open(said, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if tiny_demo:
        make_demo_tiny()
    code = main([str(word) for word in argv])
    os._exit(code)


def make_demo_tiny():
    from examples.demo import compare

    whole = compare.METHODS["brain"]

    def few(out):
        small = dict(widths=(2, 4), epochs=2, train_samples=4, val_samples=2, batch_size=2)
        chosen = {name: r for name, r in whole(out).items() if name in ("2D", "ACS from 2D")}
        return {name: replace(recipe, **small) for name, recipe in chosen.items()}

    compare.METHODS["brain"] = few


class Command:
    """One run of a command line in a fork."""

    def __init__(self, argv, said, **kwargs):
        self.said, self.started = said, time.monotonic()
        self.process = FORKS.Process(target=run, args=(argv, said), kwargs=kwargs)
        self.process.start()

    def end(self):
        """Exit code, seconds and what was printed."""
        self.process.join()
        seconds = time.monotonic() - self.started
        return self.process.exitcode, seconds, self.said.read_text()

    def kill(self, number, after):
        self.process.join(max(after - (time.monotonic() - self.started), 0))
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)
        return self.end()
