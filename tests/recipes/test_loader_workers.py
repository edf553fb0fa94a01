"""What forked workers of a loader do with what their parent made."""

import gc
from dataclasses import replace

import torch
from torch.utils.data import Dataset

from lean3d.recipes import datasets, get_recipe


class Frozen(Dataset):
    """How many objects the process that reads a sample never frees."""

    def __len__(self):
        return 400

    def __getitem__(self, index):
        return torch.tensor(gc.get_freeze_count())


def test_a_worker_never_frees_what_its_parent_made(monkeypatch):
    monkeypatch.setattr(datasets, "datasets", lambda recipe, stored: (Frozen(), Frozen()))
    train, val = datasets.loaders(replace(get_recipe("shapes3d"), workers=1))
    made = [[] for _ in range(2000)]  # what the tests themselves made is frozen already
    before = gc.get_freeze_count()
    for loader in (train, val):
        assert next(iter(loader)).min() > before + len(made)
    assert gc.get_freeze_count() <= before
