"""The law of threads: what a model answers does not depend on what other threads do."""

import copy
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["mistakes", "switching_often", "together"]


def together(jobs: list[Callable[[], None]]) -> list[str]:
    """Run every job in a thread of its own, all at once; the errors they raised."""
    errors: list[str] = []
    start = threading.Barrier(len(jobs))

    def run(job: Callable[[], None]) -> None:
        start.wait()
        try:
            job()
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}"[:200])

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    with switching_often():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return errors


@contextmanager
def switching_often() -> Iterator[None]:
    """Let Python go from thread to thread fifty times as often as it does."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def mistakes(
    models: list[nn.Module], inputs: list[Tensor], times: int, spoil: Tensor | None = None
) -> list[str]:
    """Call every model on its input in a thread of its own; what was wrong with the outputs.

    The models run for the first time there: what is expected comes from copies.

    Args:
        spoil: An input the models refuse; every thread gives it between two calls.
    """
    torch.manual_seed(0)
    with torch.no_grad():
        expected = [copy.deepcopy(model)(x) for model, x in zip(models, inputs, strict=True)]
    wrong: list[str] = []

    def job(model: nn.Module, x: Tensor, right: Tensor) -> None:
        with torch.no_grad():
            for _ in range(times):
                if not torch.equal(model(x), right):
                    wrong.append("another output")
                if spoil is not None:
                    try:
                        model(spoil)
                        wrong.append("an input that does not fit was taken")
                    except Exception:
                        pass

    jobs = [
        lambda model=model, x=x, right=right: job(model, x, right)
        for model, x, right in zip(models, inputs, expected, strict=True)
    ]
    return together(jobs) + wrong
