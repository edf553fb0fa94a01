"""A small run that can be killed: `python killed_run.py FOLDER step|write [LOGGER]`."""

import os
import signal
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lean3d.tasks.segmentation import Segmentation
from lean3d.train.fit import fit

EPOCHS = 4


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


class KilledInAnEpoch(TensorDataset):
    """Kills its process while the second batch of the third epoch is read."""

    asked = 0

    def __getitem__(self, index):
        self.asked += 1
        if self.asked == 2 * len(self) + 6:
            kill()
        return super().__getitem__(index)


def samples(kind=TensorDataset):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(12, 1, 6, 6, generator=generator)
    return kind(x, (x[:, 0] > 0.3).long())


def task(learner=Segmentation, **learning):
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Dropout(0.4), nn.Conv2d(6, 2, 1)
    )
    return learner(model, 2, **dict(lr=0.01, schedule="cosine") | learning)


def train(folder, kind=TensorDataset, *, learning=None, **kwargs):
    model = task(**(learning or {}))
    loaders = DataLoader(samples(kind), 4, shuffle=True), DataLoader(samples(), 4)
    settings = dict(epochs=EPOCHS, seed=7, accelerator="cpu", progress=False)
    settings |= dict(settings={"lr": 0.01}) | kwargs
    return model, fit(model, *loaders, Path(folder), **settings)


def die_writing_the_third_last_checkpoint():
    write, count = Path.write_bytes, [0]

    def write_half(path, data):
        count[0] += ".last." in path.name
        write(path, data[:1000] if count[0] == 3 else data)
        if count[0] == 3:
            kill()

    Path.write_bytes = write_half


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, when, *logger = sys.argv[1:]
    if when == "write":
        die_writing_the_third_last_checkpoint()
    train(
        folder, KilledInAnEpoch if when == "step" else TensorDataset, logger=(logger or [None])[0]
    )
