"""Training of the claims' networks: by lean3d's trainer, on samples that are drawn once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lean3d.data import EpochSampler
from lean3d.data.samples import Samples
from lean3d.errors import RunError
from lean3d.tasks.learner import Learner
from lean3d.train.checkpoints import load_checkpoint
from lean3d.train.fit import Precision, fit

__all__ = ["DEVICES", "Kept", "prepare", "seeded", "train"]

DEVICES = ("cpu", "cuda")


class Kept(Samples):
    """A finite set of samples, each drawn when it is first asked for and then kept in memory.

    Args:
        names: Of the classes; those of the samples by default.
    """

    def __init__(self, samples: Samples, names: Sequence[str] = ()):
        super().__init__(len(samples), samples.seed)
        self.samples = samples
        self.names: Sequence[str] = names or getattr(samples, "names", ())
        self.found: dict[int, tuple[Tensor, Tensor]] = {}

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        place = index % len(self)
        if place not in self.found:
            self.found[place] = self.samples[place]
        return self.found[place]


def prepare(device: str, tf32: bool = False, tune: bool = False) -> None:
    """Set up the device of a command; on a GPU single precision is full, unless `tf32` is asked.

    Args:
        tune: Time the ways to convolve for every size, which takes seconds and pays in long runs.

    Raises:
        RunError: there is no such device.
    """
    if device == "cpu":
        return
    if not torch.cuda.is_available():
        raise RunError("--device cuda: torch finds no GPU here; leave --device out")
    torch.backends.cudnn.benchmark = tune
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw weights that the seed fixes; other random numbers are not touched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def train(
    task: Learner,
    samples: Samples,
    val: Samples,
    folder: Path,
    *,
    seed: int,
    epochs: int,
    batch_size: int,
    val_batch: int,
    precision: Precision = "32",
    device: str = "cpu",
    best: bool = True,
) -> dict[str, Any]:
    """Train, or go on, in a run folder; return the metrics of every epoch.

    Args:
        best: End with the weights of the best epoch, not those of the last.
    """
    loader = DataLoader(samples, batch_size, sampler=EpochSampler(len(samples), seed))
    held_out = DataLoader(val, val_batch)
    folder.mkdir(parents=True, exist_ok=True)
    found = fit(
        task,
        loader,
        held_out,
        folder,
        epochs=epochs,
        precision=precision,
        seed=seed,
        resume=True,
        accelerator=device,
        progress=False,
    )
    if best:
        checkpoint = load_checkpoint(folder / "checkpoints" / "best.ckpt", task)
        task.load_state_dict(checkpoint["state_dict"])
    return found
